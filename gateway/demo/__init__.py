"""The demo shop of development mode: pages that show what the product does, and a button that wipes Redis."""
