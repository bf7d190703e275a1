"""What answers: a model in this process, servers, or actors of Ray."""
