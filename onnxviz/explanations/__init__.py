"""Explanations: the parts of the input that a score depends on."""
