"""A grid for each layer, so that bits are where they matter most."""
