"""API keys: whose they are, what each may take, and what that is."""
