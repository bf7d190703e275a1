"""The built-in plugins, loaded through the same path as anyone else's."""
