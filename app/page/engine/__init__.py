"""What a server's engine does, as the page's visitors see it."""
