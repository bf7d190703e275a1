"""`octavo chat`: a conversation in the terminal, with a model here or behind a server."""
