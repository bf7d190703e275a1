"""Two versions of the package, run side by side, and whether the newer one is slower."""
