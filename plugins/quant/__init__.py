"""Built-in quantisation methods."""
