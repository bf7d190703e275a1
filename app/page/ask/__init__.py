"""What the tab "Ask" is made of."""
