"""What is measured of every contestant, one subject a file; `turn.measure` does all of it."""
