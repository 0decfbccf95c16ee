"""The domain's rules one by one, and as laws over random histories."""
