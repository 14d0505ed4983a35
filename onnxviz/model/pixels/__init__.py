"""Pixels: which range of an image a model's input expects, read from the graph's first operators."""
