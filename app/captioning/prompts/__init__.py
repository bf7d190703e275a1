"""What is asked of each picture, and what is made of the answers."""
