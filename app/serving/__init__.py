"""What every face shares: messages and images on their way in."""
