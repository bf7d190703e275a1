"""Built-in grammar backends."""
