"""The engine: requests, scheduling, caches, the model runner and the sampler."""
