"""What travels between the parts of the engine and its faces: plain data and errors."""
