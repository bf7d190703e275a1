"""Batch captioning: any number of pictures in, one row each out, none lost and none twice."""
