"""What an answer must be, as plain data that is sent along with a request."""
