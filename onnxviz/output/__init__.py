"""Files that a command leaves on disk."""
