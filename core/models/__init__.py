"""Models from checkpoints: the choice of the implementation, building and loading."""
