"""The engine as a face holds it."""
