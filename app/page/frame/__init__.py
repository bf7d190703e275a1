"""What is around the tabs."""
