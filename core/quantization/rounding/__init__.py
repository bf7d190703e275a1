"""Which numbers of few bits stand for a weight: the methods, without models and files."""
