"""Checks, one family a file; importing a file registers its checks."""
