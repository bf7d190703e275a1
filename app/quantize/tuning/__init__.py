"""Scales of all layers at once, tuned by what the whole model says."""
