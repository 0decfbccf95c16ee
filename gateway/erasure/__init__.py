"""Erasure: make all stores forget what a cart and its shopper's orders have held, and certify it."""
