"""Detectors: where a model's outputs hold boxes and their scores."""
