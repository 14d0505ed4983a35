"""Provenance: the model, versions, provider and preprocessing that made a result; the head of every manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnxviz.files import file_sha256
from onnxviz.inputs.image_files import Picture
from onnxviz.inputs.image_pages import parse_address
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

    def picture_record(self, photos: Iterable[str | Picture] = ()) -> dict[str, Any]:
        """What the metadata of a picture say of where it is from, as JSON types; no path is in it.

        Args:
            photos: what is in the picture: paths of image files, or images in memory; what is "" is left out.
        """
        hashes = [photo_sha256(photo) for photo in photos if photo]
        return {"model": self.model.sha256, **({"images": hashes} if hashes else {})}

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


def photo_sha256(photo: str | Picture) -> str:
    """SHA-256 of an image file, in hex; of an image in memory, that of its pixels as they are read."""
    if isinstance(photo, Picture):
        import hashlib  # late: it loads a library of its own

        return hashlib.sha256(np.ascontiguousarray(photo.read(channels=None)).tobytes()).hexdigest()
    path = parse_address(photo)[0]
    found = path.stat()
    return _file_sha256(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=256)
def _file_sha256(path: Path, changed: int, size: int) -> str:
    return file_sha256(path)
