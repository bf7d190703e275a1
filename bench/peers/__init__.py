"""Octavo beside other engines, on the same work and the same machine, in one run."""
