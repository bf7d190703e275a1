"""What a model's answer is made of: thoughts, calls of functions, and the rest."""
