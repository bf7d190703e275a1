"""From messages and images to tokens, and from tokens to text."""
