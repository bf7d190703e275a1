"""How models write thoughts and calls of functions."""
