"""The server that a page is about."""
