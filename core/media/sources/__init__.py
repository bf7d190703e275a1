"""Where images come from: URLs, files and data in the request."""
