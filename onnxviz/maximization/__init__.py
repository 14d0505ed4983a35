"""Activation maximisation: inputs that a filter or a class answers most."""
