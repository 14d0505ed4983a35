"""What is fed: image files, folders of them, arrays, archives of arrays, as samples that fit the model's inputs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxviz.errors import InputError
from onnxviz.images import NAMED, SUFFIXES, Fit, Preprocessing, read_image
from onnxviz.model import PREPROCESSING_KEY, Model, Port
from onnxviz.validate import printable
from onnxviz.weights import Array

Feeds = dict[str, Array]
# What a caller may give: an array, a path, several of them, or one for each input's name.
Given = Any


@dataclass(frozen=True)
class Sample:
    """One input of the model, or a batch of them; read when it is needed.

    Attributes:
        label: what messages and files call it.
        read: gives the arrays, by input name, batch axis included.
        batchable: whether the arrays of several samples may be joined along the first axis.
    """

    label: str
    read: Callable[[], Feeds]
    batchable: bool


@dataclass(frozen=True)
class Reading:
    """How image files are read.

    Attributes:
        preprocessing: what is done to the pixels.
        assumed: whether nobody said so.
        size: (height, width) for inputs that leave it open; None for each picture's own.
        fit: see `onnxviz.images.read_image`.
        background: colour behind transparent pixels.
    """

    preprocessing: Preprocessing
    assumed: bool
    size: tuple[int, int] | None = None
    fit: Fit = "stretch"
    background: str = "white"


def reading(
    model: Model,
    preprocess: str | Preprocessing = "auto",
    size: tuple[int, int] | None = None,
    fit: Fit = "stretch",
    background: str = "white",
) -> Reading:
    """How to read image files for `model`.

    Args:
        model: `auto` looks up its metadata; where they say nothing, integer inputs get `raw`, others `unit`.
        preprocess: `auto`, a name, a formula (`Preprocessing.parse`) or a `Preprocessing`.
        size: (height, width) in pixels.
        fit: "stretch" or "crop".
        background: a colour.
    """
    if isinstance(preprocess, Preprocessing):
        return Reading(preprocess, False, size, fit, background)
    if preprocess != "auto":
        return Reading(Preprocessing.parse(preprocess), False, size, fit, background)
    if PREPROCESSING_KEY in model.metadata:
        return Reading(Preprocessing.from_json(model.metadata[PREPROCESSING_KEY]), False, size, fit, background)
    integer = bool(model.inputs) and model.inputs[0].dtype.startswith(("uint", "int"))
    return Reading(NAMED["raw" if integer else "unit"], True, size, fit, background)


def samples(model: Model, given: Given, how: Reading) -> list[Sample]:
    """The samples that `given` means.

    Args:
        model: the model that they are for.
        given: an array in the model's layout (with or without the batch axis); the path of an image, of a folder of
            images, of a `.npy` or of a `.npz` keyed by input name; `NAME=PATH` (a string) or a mapping of input
            names for one input of several; or a sequence of those.
        how: how image files are read.

    Raises:
        InputError: nothing there, or it does not fit the model.
    """
    if isinstance(given, Mapping):
        return _by_name(model, given, how)
    if isinstance(given, str | Path) or hasattr(given, "__array__"):
        given = [given]
    if not isinstance(given, Sequence):
        raise InputError(f"an input is an array, a path, a mapping or a sequence of those, not {type(given).__name__}")
    named: dict[str, Given] = {}
    found: list[Sample] = []
    names = {port.name for port in model.inputs}
    for item in given:
        name, equals, path = item.partition("=") if isinstance(item, str) else ("", "", "")
        if equals and not Path(str(item)).exists():
            if name not in names:
                raise InputError(_no_such_input(model, name))
            named[name] = path
        else:
            found.extend(_one(model, item, how))
    if named and found:
        raise InputError("either every input is given as NAME=PATH, or none")
    if named:
        return _by_name(model, named, how)
    if not found:
        raise InputError("no input was given")
    return found


def _one(model: Model, item: Given, how: Reading) -> list[Sample]:
    if not isinstance(item, str | Path):
        port = _only_input(model)
        return _slices({port.name: fitted(np.asarray(item), port, "the array")}, "array")
    path = Path(item)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not files:
            raise InputError(f"the folder {path} has no images ({', '.join(sorted(SUFFIXES))})")
        return [_image(model, file, how) for file in files]
    if path.suffix.lower() == ".npz":
        return _by_name(model, _read_archive(path), how, label=path.name)
    if path.suffix.lower() == ".npy":
        port = _only_input(model)
        return _slices({port.name: fitted(_read_array(path), port, str(path))}, path.name)
    if not path.exists():
        raise InputError(f"there is no file {path}")
    return [_image(model, path, how)]


def _by_name(model: Model, given: Mapping[str, Given], how: Reading, label: str = "") -> list[Sample]:
    ports = {port.name: port for port in model.inputs}
    for name in given:
        if name not in ports:
            raise InputError(_no_such_input(model, str(name)))
    feeds: Feeds = {}
    for name, item in given.items():
        port = ports[name]
        if isinstance(item, str | Path):
            path = Path(item)
            if path.suffix.lower() == ".npy":
                feeds[name] = fitted(_read_array(path), port, str(path))
            else:
                feeds[name] = image_input(model, port, path, how)
            label = label or path.name
        else:
            feeds[name] = fitted(np.asarray(item), port, f"the array for '{printable(name)}'")
    if not feeds:
        raise InputError("no input was given")
    lengths = {array.shape[0] if array.ndim else 0 for array in feeds.values()}
    shapes = [ports[name].shape for name in feeds]
    open_batch = all(shape and not isinstance(shape[0], int) for shape in shapes)
    if len(lengths) == 1 and max(lengths) > 1 and (open_batch or len(feeds) == 1):
        return _slices(feeds, label or "array")
    return [Sample(label or "array", lambda: feeds, False)]


def _slices(feeds: Feeds, label: str) -> list[Sample]:
    """One sample for each entry along the first axis, which all arrays share; a slice is taken when it is fed."""

    def entry(index: int) -> Sample:
        name = label if length == 1 else f"{label}[{index}]"
        return Sample(name, lambda: {key: array[index : index + 1] for key, array in feeds.items()}, True)

    first = next(iter(feeds.values()))
    if first.ndim == 0:
        return [Sample(label, lambda: feeds, False)]
    length = first.shape[0]
    return [entry(index) for index in range(length)]


def _image(model: Model, path: Path, how: Reading) -> Sample:
    port = _only_input(model)
    return Sample(path.name, lambda: {port.name: image_input(model, port, path, how)}, True)


def image_input(model: Model, port: Port, path: Path, how: Reading) -> Array:
    """The array for `port` made from one image file: (1, C, H, W) or (1, H, W, C), as the model wants it.

    Raises:
        InputError: the file cannot be read, or the input is not one for images.
    """
    if port.layout not in ("NCHW", "NHWC") or port.shape is None:
        shape = "x".join(str(d if d is not None else "?") for d in port.shape) if port.shape is not None else "unknown"
        raise InputError(
            f"input '{printable(port.name)}' of {model.label} has shape {shape}, which is not an image's: give a .npy"
        )
    axes = {axis: port.shape[position] for position, axis in enumerate(port.layout)}
    channels = axes["C"] if isinstance(axes["C"], int) else 3
    if channels not in (1, 3, 4):
        raise InputError(f"input '{printable(port.name)}' of {model.label} has {channels} channels: give a .npy")
    height, width = axes["H"], axes["W"]
    size = how.size
    if isinstance(height, int) and isinstance(width, int):
        if size is not None and size != (height, width):
            raise InputError(f"{model.label} takes images of {height}x{width} only, not {size[0]}x{size[1]}")
        size = (height, width)
    elif size is None and (isinstance(height, int) or isinstance(width, int)):
        raise InputError(f"{model.label} leaves one side of the image open: give --size HxW")
    pixels = read_image(path, channels=channels, size=size, fit=how.fit, background=how.background)
    values = how.preprocessing.apply(pixels)
    if port.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    if port.dtype.startswith(("uint", "int")):
        limits = np.iinfo(port.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.ascontiguousarray(values[None].astype(port.dtype or np.float32))


def fitted(array: Array, port: Port, what: str) -> Array:
    """`array` with the batch axis and element type that `port` wants, not copied where it fits already.

    Raises:
        InputError: its shape or type cannot fit; the message says both.
    """
    if port.shape is not None:
        if array.ndim == len(port.shape) - 1:
            array = array[None]
        wanted = "x".join(str(d if d is not None else "?") for d in port.shape) or "scalar"
        has = "x".join(map(str, array.shape)) or "scalar"
        # The first axis may be any multiple: fixed batches are filled sample by sample.
        fits = array.ndim == len(port.shape) and all(
            not isinstance(dim, int) or dim == size or (axis == 0 and array.ndim > 1)
            for axis, (dim, size) in enumerate(zip(port.shape, array.shape, strict=False))
        )
        if not fits:
            raise InputError(f"{what} has shape {has}; input '{printable(port.name)}' takes {wanted}")
    if array.size == 0:
        raise InputError(f"{what} is empty")
    if port.dtype and array.dtype != port.dtype:
        if port.dtype == "string" or not np.can_cast(array.dtype, np.dtype(port.dtype), "same_kind"):
            raise InputError(f"{what} has type {array.dtype}; input '{printable(port.name)}' takes {port.dtype}")
        array = array.astype(port.dtype)
    return array


def _read_array(path: Path) -> Array:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is not a .npy array: {printable(str(error))}") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive, not a .npy array: name it .npz")
    return array


def _read_archive(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise InputError(f"{path} is a single array: name it .npy")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a .npz archive: {printable(str(error))}") from None


def _only_input(model: Model) -> Port:
    if len(model.inputs) == 1:
        return model.inputs[0]
    images = [port for port in model.inputs if port.layout in ("NCHW", "NHWC")]
    if len(images) == 1:
        return images[0]
    names = ", ".join(printable(port.name) for port in model.inputs) or "none"
    raise InputError(f"{model.label} has {len(model.inputs)} inputs ({names}): give each as NAME=PATH or in a .npz")


def _no_such_input(model: Model, name: str) -> str:
    there = ", ".join(printable(port.name) for port in model.inputs) or "none"
    return f"{model.label} has no input called '{printable(name)}'; it has {there}"
