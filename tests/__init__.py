"""The tests: unit and property tests by layer, and whole-system tests that kill things."""
