"""Linear layers as checkpoints store them in fewer bits, and what becomes of them."""
