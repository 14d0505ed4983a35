"""Axes: what each axis of a model's tensors counts, followed from the inputs."""
