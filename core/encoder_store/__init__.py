"""Where outputs of image encoders are kept beyond one process, and how far they are trusted."""
