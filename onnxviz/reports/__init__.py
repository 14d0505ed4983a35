"""Reports: one self-contained HTML page about a model, for people to read and sign."""
