"""Measurements of speed and of rightness, each a command; what they print is what the documentation quotes."""
