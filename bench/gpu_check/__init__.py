"""Whether this machine's GPU computes what the reference does, and how fast."""
