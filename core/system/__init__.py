"""Facts and settings of the process and its machine."""
