"""One module for each engine, run by that engine's own Python; they import nothing of Octavo's
but each other, except Octavo's own."""
