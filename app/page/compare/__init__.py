"""What stands behind the tab "Compare"."""
