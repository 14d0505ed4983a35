"""Comparison: two versions of one model, layer by layer."""
