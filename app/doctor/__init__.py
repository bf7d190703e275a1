"""`octavo doctor`: whether this machine and installation can serve a model, and what is amiss."""
