"""What is done to a model before it runs, one file each."""
