"""Kernels in plain Python libraries, for machines without a compiler."""
