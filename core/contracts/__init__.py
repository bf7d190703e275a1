"""What plugins declare and implement."""
