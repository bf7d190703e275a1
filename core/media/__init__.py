"""Images on their way in: bytes, headers, limits, decoding and pixel values."""
