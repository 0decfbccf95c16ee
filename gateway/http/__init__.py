"""HTTP itself: headers, bodies, problems, responses."""
