"""One graph made out of another: one pass a file."""
