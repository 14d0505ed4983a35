"""Predictions: what a model says of its inputs, with names and shares."""
