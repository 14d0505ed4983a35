"""Inputs of a model: images and arrays as samples, preprocessing, provenance."""
