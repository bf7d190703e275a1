"""What each quantisation method costs in accuracy, and what it saves."""
