"""What operators do to the stores by hand: look, compare, repair, restore. Decisions pure, shells thin."""
