"""What the product costs and what it saves, measured against things anyone can run."""
