"""The model card: what a model is, what goes in and comes out, what it costs, and where that is known from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxviz.auditing.cost import Cost, cost_of
from onnxviz.inputs.samples import ImageOptions
from onnxviz.messages import dims
from onnxviz.model.model import Model
from onnxviz.model.ports import Port
from onnxviz.model.scores import class_names

_MOST_METADATA = 40
_SOURCES = {
    "option": "given by whoever made this page",
    "metadata": "the model's metadata",
    "graph": "the graph's first operators",
    "assumption": "assumed: nothing tells",
}


@dataclass(frozen=True)
class Fact:
    """A line of the card.

    Attributes:
        label: what it is.
        text: in words.
        remark: what is to be said about it; "" where nothing is.
        value: the number, where it is one.
        key: what it is called in the JSON; "" where it is not there.
    """

    label: str
    text: str
    remark: str = ""
    value: float | None = None
    key: str = ""


@dataclass(frozen=True)
class ModelCard:
    """A model in facts.

    Attributes:
        identity: file, hash, producer, versions of the format.
        ports: a fact for each input and output.
        preprocessing: what is done to images.
        cost: of one sample.
        software: versions of what made the page.
        metadata: (key, value) of the model's own entries, the first forty.
        more_metadata: how many more there are.
    """

    identity: tuple[Fact, ...]
    ports: tuple[Fact, ...]
    preprocessing: tuple[Fact, ...]
    cost: tuple[Fact, ...]
    software: tuple[Fact, ...]
    metadata: tuple[tuple[str, str], ...]
    more_metadata: int


def model_card(model: Model, images: ImageOptions, head: Mapping[str, Any]) -> ModelCard:
    """The card of a model.

    Args:
        model: the model.
        images: how image files are prepared.
        head: its provenance, as in the JSON.
    """
    entries = [(entry.key, entry.value) for entry in model.proto.metadata_props]
    return ModelCard(
        _identity(model),
        tuple(_port("input", port) for port in model.inputs) + tuple(_port("output", port) for port in model.outputs),
        _preprocessing(images),
        _cost(cost_of(model, images, lambda names: {})),
        (
            *(Fact(name, version, key=name) for name, version in head["versions"].items()),
            Fact("provider", str(head["provider"]), key="provider"),
        ),
        tuple(entries[:_MOST_METADATA]),
        max(0, len(entries) - _MOST_METADATA),
    )


def _identity(model: Model) -> tuple[Fact, ...]:
    proto = model.proto
    size = _size(model.file)
    producer = " ".join(filter(None, (proto.producer_name, proto.producer_version)))
    opsets = ", ".join(f"{domain} {version}" if domain else str(version) for domain, version in model.opset.items())
    convolutions, layers, names = len(model.layers), len(model.all_layers), class_names(model)
    facts = [
        Fact("what", f"{convolutions:,} convolution{'' if convolutions == 1 else 's'} among {layers:,} layers"),
        Fact("parameters", f"{model.parameters:,}", value=model.parameters, key="parameters"),
        Fact("file", model.label, key="model"),
        *([Fact("size", f"{size:,} bytes", value=size)] if size else []),
        Fact("exported by", producer or "not said", key="producer"),
        Fact("opset", opsets, f"IR version {proto.ir_version}", key="opset"),
        Fact("operators", ", ".join(model.operators)),
        Fact("names of classes", f"{len(names):,} in the metadata" if names else "none in the metadata"),
    ]
    if proto.doc_string:
        facts.append(Fact("description", proto.doc_string))
    return tuple(facts)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _port(label: str, port: Port) -> Fact:
    layout = f" {port.layout}" if port.layout else ""
    return Fact(label, f"{dims(port.shape, '×')} {port.dtype}{layout}", port.name)


def _preprocessing(images: ImageOptions) -> tuple[Fact, ...]:
    expected = images.expected
    facts = [
        Fact("prepared as", images.preprocessing.words, key="preprocessing"),
        Fact("known from", _SOURCES.get(expected.source, expected.source), expected.conflict or expected.remark),
        Fact("fitted", "cropped to the middle" if images.fit == "crop" else "stretched to the size of the input"),
    ]
    return tuple(facts)


def _cost(cost: Cost) -> tuple[Fact, ...]:
    unknown = f"not known: the size of '{cost.unknown}' is open"
    macs, largest = cost.macs, cost.activation_bytes
    return (
        Fact("multiply-accumulates", unknown if macs is None else f"{macs:,}", "convolutions and matrix products",
             macs, "macs"),
        Fact("weights", f"{cost.weight_bytes:,} bytes", value=cost.weight_bytes, key="weight-bytes"),
        Fact("largest activation", unknown if largest is None else f"{largest:,} bytes",
             "" if largest is None else cost.largest, largest, "activation-bytes"),
    )  # fmt: skip
