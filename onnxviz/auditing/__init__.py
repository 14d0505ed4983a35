"""Auditing: whether a model is fit to deploy, as findings of checks."""
