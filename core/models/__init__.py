"""From a checkpoint to a model that runs: who serves it, and its weights."""
