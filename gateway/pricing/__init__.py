"""What a cart costs: prices out of the catalogue, a shop's own rules by a hook, warnings on reads."""
