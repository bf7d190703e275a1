"""Contracts, registry, layers and the engine: what the faces and the plugins build on."""
