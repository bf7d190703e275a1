"""Quantisation of linear layers' weights."""
