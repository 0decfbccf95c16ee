"""The routes of the catalogue: what a shop page reads, and what the owner of products sends."""
