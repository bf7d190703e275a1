"""The device that computes, and how its memory is shared out."""
