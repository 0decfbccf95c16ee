"""The fault suite: real clients write, something breaks, then the history is held against the stores."""
