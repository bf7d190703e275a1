"""What an operator may ask of quantisation."""
