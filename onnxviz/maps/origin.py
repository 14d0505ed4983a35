"""The origin of captured maps: provenance, layers, samples, and what failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from onnxviz.inputs.provenance import Provenance
from onnxviz.maps.finite import NotFinite


@dataclass(frozen=True)
class TapOrigin:
    """Where one layer's maps come from.

    Attributes:
        tensor: the tensor's name in the model.
        scope: path of the graph it is in, "" for the main one.
        op: the layer's operator.
        what: which tensor it is in the layer, in words: "after BatchNormalization, Relu".
        dequantized: whether quantised values were turned into real ones.
        sometimes: whether it is in a branch that need not run; its maps are then empty.
        sample_axis: which axis of the maps counts samples: 0, or 1 for each Loop or Scan around it.
        rows: which sample each entry of that axis belongs to; None where they are the samples in order.
        parts: which view, frame or branch of its sample each is, `view 0`; None where there is one of each.
    """

    tensor: str
    scope: str
    op: str
    what: str
    dequantized: bool
    conditional: bool
    sample_axis: int = 0
    rows: tuple[int, ...] | None = None
    parts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class MapsOrigin:
    """What made some maps.

    Attributes:
        provenance: the model, software and image options.
        at: "activation" or "conv".
        layers: where each layer's maps come from, by layer name.
        samples: a label for each sample, in the order of the maps' sample axis (see `Tapped.rows`).
        failed: (label, error) of the inputs that could not be used.
        observer_effect: by how much the taps moved the model's outputs, None if that was not asked for.
        not_finite: where maps, or what was fed, hold NaN or infinity, in graph order: it begins in the first.
    """

    provenance: Provenance
    at: str
    layers: Mapping[str, TapOrigin]
    samples: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    observer_effect: Mapping[str, float] | None
    not_finite: tuple[NotFinite, ...] = ()

    def manifest(self) -> dict[str, Any]:
        """All of it as JSON types; reads the whole model file once for its hash."""
        return {
            **self.provenance.as_dict(),
            "at": self.at,
            "layers": {name: asdict(tapped) for name, tapped in self.layers.items()},
            "samples": list(self.samples),
            "failed": [{"sample": label, "error": error} for label, error in self.failed],
            "not_finite": [found.as_dict() for found in self.not_finite],
            "verification": None if self.observer_effect is None else dict(self.observer_effect),
        }
