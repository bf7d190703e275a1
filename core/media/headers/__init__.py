"""The headers of image files: what is known of a picture before it is decoded."""
