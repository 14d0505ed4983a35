"""Provenance: the model, versions, provider and preprocessing that made a result; the head of every manifest."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnxviz.inputs.samples import ImageOptions
from onnxviz.model.model import Model
from onnxviz.runtime.providers import NodeAssignment, Provider

if TYPE_CHECKING:
    from onnxviz.runtime.session import RunOptions

MANIFEST_VERSION = 1


@dataclass(frozen=True)
class Provenance:
    """The model, software and image options behind a result.

    Attributes:
        model: the model.
        running: how the model was run; None where it was not.
        images: how image files were read; None where there were none, and arrays were fed as they are.
    """

    model: Model
    running: RunOptions | None = None
    images: ImageOptions | None = None

    @property
    def provider(self) -> str | None:
        """The execution provider that was asked for, with its options; None where the model was not run."""
        return None if self.running is None else str(Provider.parse(self.running.provider))

    @property
    def assignment(self) -> NodeAssignment | None:
        """Which nodes ran on which provider; None on the CPU, and where the model was not run."""
        return None if self.running is None else self.running.assignment

    @property
    def placement(self) -> dict[str, Any]:
        """Where the model ran, as JSON types: `provider`, and `node_assignment` where that is not the CPU.

        The latter is by provider how many nodes of each operator ran on it; None where this onnxruntime does not tell.
        """
        told = {} if self.assignment is None else {"node_assignment": self.assignment.nodes}
        return {"provider": self.provider, **told}

    @property
    def versions(self) -> dict[str, str]:
        """Version of each package that took part, by name; that of onnxruntime only where the model was run.

        The packages themselves are asked: onnxruntime comes under several names (`onnxruntime-gpu`), and then no
        distribution `onnxruntime` is installed.
        """
        found = {"onnxviz": version("onnxviz"), "onnx": onnx.__version__}
        if self.running is not None:
            from onnxviz.runtime.session import VERSION

            found["onnxruntime"] = VERSION
        return {**found, "numpy": np.__version__}

    def as_dict(self) -> dict[str, Any]:
        """The head of a manifest, as JSON types; reads the whole model file once for its hash."""
        model = self.model
        return {
            "version": MANIFEST_VERSION,
            "model": {"path": model.label, "sha256": model.sha256, "opset": model.opset},
            "versions": self.versions,
            "preprocessing": self.images.as_dict() if self.images is not None else None,
            **self.placement,
        }
