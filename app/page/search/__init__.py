"""What stands behind the tab "Search"."""
