"""Automatic deployment: models that transformers knows and no plugin serves, made to run here."""
