"""Factors of a layer's inputs, which what comes before it takes: AWQ."""
