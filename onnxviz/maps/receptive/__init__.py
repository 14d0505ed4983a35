"""Receptive fields: the part of the input that a unit depends on."""
