"""Built-in vision encoders."""
