"""What operators do to the stores by hand: look, compare, mend, bring back. Decisions pure, shells thin."""
