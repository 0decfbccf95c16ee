"""The pure domain: cart, operations, union and fold. No I/O, no clock, no randomness."""
