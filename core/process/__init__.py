"""Child processes: started with a socket, watched, and ended."""
