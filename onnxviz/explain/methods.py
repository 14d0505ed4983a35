"""The table of all methods."""

from __future__ import annotations

from onnxviz.explain import cam, perturbation, saliency
from onnxviz.explain.method import Method

METHODS: dict[str, Method] = {
    method.name: method for method in (*cam.METHODS, *saliency.METHODS, *perturbation.METHODS)
}
"""Every method, by name."""
