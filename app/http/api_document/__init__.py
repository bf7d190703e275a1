"""The OpenAPI document of a server, and the page that shows it."""
