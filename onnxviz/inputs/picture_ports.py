"""Ports that take pictures: their sizes and channels, and the one that is meant where there are several."""

from __future__ import annotations

from onnxviz.errors import InputError
from onnxviz.messages import meant, printable
from onnxviz.model.model import Model
from onnxviz.model.ports import Port


def is_picture(port: Port) -> bool:
    """Whether an input takes images."""
    return port.layout in ("NCHW", "NHWC")


def image_size(port: Port) -> tuple[int, int] | None:
    """(height, width) of the images that an input takes; None where it leaves that open, or takes none."""
    if not is_picture(port) or port.shape is None:
        return None
    height, width = (port.shape[port.layout.index(axis)] for axis in "HW")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def channels_of(port: Port) -> int | None:
    """How many channels an image for this input has; None where the model leaves it open."""
    size = port.shape[port.layout.index("C")] if port.shape is not None and "C" in port.layout else None
    return size if isinstance(size, int) else None


def ports_of(model: Model) -> dict[str, Port]:
    """The inputs by name."""
    return {port.name: port for port in model.inputs}


def only_input(model: Model) -> Port:
    """The input that is meant where none is named: the only one, or the only one for pictures.

    Raises:
        InputError: there are several.
    """
    if len(model.inputs) == 1:
        return model.inputs[0]
    images = [port for port in model.inputs if is_picture(port)]
    if len(images) == 1:
        return images[0]
    names = ", ".join(printable(port.name) for port in model.inputs) or "none"
    raise InputError(f"{model.label} has {len(model.inputs)} inputs ({names}): give each as NAME=PATH or in a .npz")


def no_such_input(model: Model, name: str) -> str:
    """That the model has no such input, and which was meant."""
    there = ", ".join(printable(port.name) for port in model.inputs) or "none"
    hint = meant(name, [port.name for port in model.inputs])
    return f"{model.label} has no input called '{printable(name)}'; {hint}it has {there}"
