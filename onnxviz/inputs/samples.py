"""Samples: image files, folders, arrays and archives, made to fit a model's inputs."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.inputs.image_files import MAX_PIXELS, SUFFIXES, Fit, parse_colour, read_image
from onnxviz.inputs.preprocessing import NAMED, Preprocessing
from onnxviz.messages import dims, printable, refuse_unheeded
from onnxviz.model.batch_axis import batch_inputs
from onnxviz.model.model import PREPROCESSING_KEY, Model
from onnxviz.model.ports import Port

Feeds = dict[str, NDArray[Any]]
# Archives are unpacked in memory; a `.npy` is mapped, and may be of any size.
MAX_ARCHIVE_BYTES = 2**31
# What a caller may give: an array, a path, several of them, or one for each input's name.
InputLike = Any


@dataclass(frozen=True)
class Sample:
    """One input of the model, or a batch of them; read when it is needed.

    Attributes:
        label: what messages and files call it.
        read: gives the arrays, by input name, batch axis included.
        batchable: whether the arrays of several samples may be joined along the first axis.
        path: the whole path of an image file, "" for an array.
    """

    label: str
    read: Callable[[], Feeds]
    batchable: bool
    path: str = ""


@dataclass(frozen=True)
class ImageOptions:
    """How image files are read.

    Attributes:
        preprocessing: what is done to the pixels.
        assumed: whether nobody said so.
        size: (height, width) for inputs that leave it open; None for each picture's own.
        fit: see `onnxviz.inputs.image_files.read_image`.
        background: colour behind transparent pixels.
        given: names of the options that were asked for; the others are as usual.
    """

    preprocessing: Preprocessing
    assumed: bool
    size: tuple[int, int] | None = None
    fit: Fit = "stretch"
    background: str = "white"
    given: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        model: Model,
        preprocess: str | Preprocessing = "auto",
        size: tuple[int, int] | None = None,
        fit: Fit | None = None,
        background: str | None = None,
    ) -> ImageOptions:
        """How to read image files for `model`.

        Args:
            model: `auto` looks up its metadata; where they say nothing, integer inputs get `raw`, others `unit`.
            preprocess: `auto`, a name, a formula (`Preprocessing.parse`) or a `Preprocessing`.
            size: (height, width) in pixels.
            fit: "stretch" or "crop"; None for "stretch".
            background: a colour; None for white.
        """
        asked = {"preprocess": preprocess != "auto", "size": size, "fit": fit, "background": background}
        given = tuple(name for name, value in asked.items() if value)
        fit, background = fit or "stretch", background or "white"
        parse_colour(background)
        if isinstance(preprocess, Preprocessing):
            return cls(preprocess, False, size, fit, background, given)
        if preprocess != "auto":
            return cls(Preprocessing.parse(preprocess), False, size, fit, background, given)
        if PREPROCESSING_KEY in model.metadata:
            known = Preprocessing.from_json(model.metadata[PREPROCESSING_KEY])
            return cls(known, False, size, fit, background, given)
        ports = [port for port in model.inputs if port.layout in ("NCHW", "NHWC")]
        integer = bool(ports) and ports[0].dtype.startswith(("uint", "int"))
        return cls(NAMED["raw" if integer else "unit"], True, size, fit, background, given)

    def check_heeded(self, model: Model, found: Sequence[Sample]) -> None:
        """Refuses options that nothing heeds of these samples of `model`.

        Raises:
            UnheededOptionError: an option was given although there is no image, a fit though each keeps its own size,
                or a size that the model does not take.
        """
        given = dict.fromkeys(self.given, True)
        if not any(sample.path for sample in found):
            refuse_unheeded(given, "arrays are fed as they are")
            return
        fixed = [size for size in map(_image_size, model.inputs) if size is not None]
        if self.size is None and not fixed:
            refuse_unheeded({"fit": given.get("fit")}, "each image keeps its own size, {size} sets one")
        if self.size is not None and fixed and self.size not in fixed:
            why = f"{model.label} takes images of {dims(fixed[0])}, not of {dims(self.size)}"
            refuse_unheeded({"size": self.size}, why)

    def as_dict(self) -> dict[str, Any]:
        """The preprocessing as JSON types, and whether it was assumed."""
        return {**self.preprocessing.as_dict(), "assumed": self.assumed}


def _image_size(port: Port) -> tuple[int, int] | None:
    """(height, width) of the images that an input takes; None where it leaves that open, or takes none."""
    if port.layout not in ("NCHW", "NHWC") or port.shape is None:
        return None
    height, width = (port.shape[port.layout.index(axis)] for axis in "HW")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def samples(model: Model, given: InputLike, images: ImageOptions) -> list[Sample]:
    """The samples that `given` means.

    Args:
        model: the model that they are for.
        given: an array in the model's layout (with or without the batch axis); the path of an image, of a folder of
            images, of a `.npy` or of a `.npz` keyed by input name; `NAME=PATH` (a string) or a mapping of input
            names for one input of several; or a sequence of those.
        images: how image files are read.

    Raises:
        InputError: nothing there, or it does not fit the model.
    """
    if isinstance(given, Mapping):
        return _by_name(model, given, images)
    if isinstance(given, str | Path) or hasattr(given, "__array__"):
        given = [given]
    if not isinstance(given, Sequence):
        raise InputError(f"an input is an array, a path, a mapping or a sequence of those, not {type(given).__name__}")
    named: dict[str, InputLike] = {}
    found: list[Sample] = []
    names = {port.name for port in model.inputs}
    for item in given:
        name, equals, path = item.partition("=") if isinstance(item, str) else ("", "", "")
        if equals and not Path(str(item)).exists():
            if name not in names:
                raise InputError(_no_such_input(model, name))
            if name in named:
                raise InputError(f"input '{printable(name)}' is given twice")
            named[name] = path
        else:
            found.extend(_one(model, item, images))
    if named and found:
        raise InputError("either every input is given as NAME=PATH, or none")
    if named:
        return _by_name(model, named, images)
    if not found:
        raise InputError("no input was given")
    times = Counter(sample.label for sample in found)
    return [s if times[s.label] == 1 else replace(s, label=s.path or s.label) for s in found]


def _one(model: Model, item: InputLike, images: ImageOptions) -> list[Sample]:
    if not isinstance(item, str | Path):
        port = _only_input(model)
        return _rows({port.name: fitted(np.asarray(item), port, "the array")}, _ports(model), "array")
    path = Path(item)
    if path.is_dir():
        inside = (p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        files = sorted(p for p in inside if not p.is_dir())
        if not files:
            raise InputError(f"the folder {path} has no images ({', '.join(sorted(SUFFIXES))})")
        return [_image(model, file, images) for file in files]
    if path.suffix.lower() == ".npz":
        return _by_name(model, _read_archive(path, _ports(model)), images, label=path.name)
    if path.suffix.lower() == ".npy":
        port = _only_input(model)
        return _rows({port.name: fitted(_read_array(path), port, str(path))}, _ports(model), path.name)
    if not path.exists():
        raise InputError(f"there is no file {path}")
    return [_image(model, path, images)]


def _by_name(model: Model, given: Mapping[str, InputLike], images: ImageOptions, label: str = "") -> list[Sample]:
    ports = _ports(model)
    for name in given:
        if name not in ports:
            raise InputError(_no_such_input(model, str(name)))
    feeds: Feeds = {}
    image = ""
    for name, item in given.items():
        port = ports[name]
        if isinstance(item, str | Path):
            path = Path(item)
            if path.suffix.lower() == ".npy":
                feeds[name] = fitted(_read_array(path), port, str(path))
            else:
                feeds[name] = image_input(model, port, path, images)
                image = str(path)
            label = label or path.name
        else:
            feeds[name] = fitted(np.asarray(item), port, f"the array for '{printable(name)}'")
    if not feeds:
        raise InputError("no input was given")
    return _rows(feeds, ports, label or "array", image)


def _rows(feeds: Feeds, ports: Mapping[str, Port], label: str, image: str = "") -> list[Sample]:
    """One sample for each entry of the batch axis, where the arrays that have one agree; else one sample of it all.

    An array without a batch axis goes with every sample. A slice is taken, and converted, when it is fed.
    """

    def converted(name: str, array: NDArray[Any]) -> NDArray[Any]:
        dtype = ports[name].dtype
        return np.asarray(array) if not dtype or array.dtype == dtype else np.asarray(array).astype(dtype)

    def entry(index: int) -> Sample:
        def read() -> Feeds:
            return {n: converted(n, a[index : index + 1] if n in batched else a) for n, a in feeds.items()}

        return Sample(f"{label}[{index}]", read, batched == feeds.keys())

    batched = batch_inputs(ports.values()) & feeds.keys()
    lengths = {feeds[name].shape[0] for name in batched}
    fixed = {shape[0] for shape in (ports[name].shape for name in batched) if shape and isinstance(shape[0], int)}
    length = max(lengths) if len(lengths) == 1 else 1
    if length <= 1 or len(fixed) > 1 or fixed == {length}:
        single = lengths == {1} and batched == feeds.keys()
        return [Sample(label, lambda: {n: converted(n, a) for n, a in feeds.items()}, single, image)]
    return [entry(index) for index in range(length)]


def _image(model: Model, path: Path, images: ImageOptions) -> Sample:
    port = _only_input(model)
    return Sample(path.name, lambda: {port.name: image_input(model, port, path, images)}, True, str(path))


def image_input(model: Model, port: Port, path: Path, images: ImageOptions) -> NDArray[Any]:
    """The array for `port` made from one image file: (1, C, H, W) or (1, H, W, C), as the model wants it.

    Raises:
        InputError: the file cannot be read, or the input is not one for images.
    """
    if port.layout not in ("NCHW", "NHWC") or port.shape is None:
        raise InputError(
            f"input '{printable(port.name)}' of {model.label} has shape {dims(port.shape)}, not an image's: give a .npy"
        )
    axes = {axis: port.shape[position] for position, axis in enumerate(port.layout)}
    channels = axes["C"] if isinstance(axes["C"], int) else 3
    if channels not in (1, 3, 4):
        raise InputError(f"input '{printable(port.name)}' of {model.label} has {channels} channels: give a .npy")
    height, width = axes["H"], axes["W"]
    if 0 in (height, width):
        raise InputError(f"input '{printable(port.name)}' of {model.label} has no pixels: {dims(port.shape)}")
    size = images.size
    wanted = dims((height, width))
    if size is not None and any(isinstance(a, int) and a != b for a, b in zip((height, width), size, strict=True)):
        raise InputError(f"{model.label} takes images of {wanted}, not of {size[0]}x{size[1]}")
    if isinstance(height, int) and isinstance(width, int):
        size = (height, width)
    elif size is None and (isinstance(height, int) or isinstance(width, int)):
        raise InputError(f"{model.label} takes images of {wanted} and leaves a side open: give --size HxW")
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"images of {size[0]}x{size[1]} are too large; the limit is {MAX_PIXELS:,} pixels")
    pixels = read_image(path, channels=channels, size=size, fit=images.fit, background=images.background)
    values = images.preprocessing.apply(pixels)
    if port.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    if port.dtype.startswith(("uint", "int")):
        limits = np.iinfo(port.dtype)
        values = np.rint(values)
        if values.min() < limits.min or values.max() > limits.max:
            raise InputError(
                f"preprocessing '{images.preprocessing.name}' gives {values.min():g}…{values.max():g}; input "
                f"'{printable(port.name)}' takes {port.dtype}: give --preprocess, such as scale=1,mean=128"
            )
    return np.ascontiguousarray(values[None].astype(port.dtype or np.float32))


def fitted(array: NDArray[Any], port: Port, what: str) -> NDArray[Any]:
    """`array` with the batch axis and element type that `port` wants, not copied where it fits already.

    Raises:
        InputError: its shape or type cannot fit; the message says both.
    """
    _check_shape(array.shape, port, what)
    if port.shape is not None and array.ndim == len(port.shape) - 1:
        array = array[None]
    if array.size == 0:
        raise InputError(f"{what} is empty")
    if port.dtype and array.dtype != port.dtype:
        if port.dtype == "string" or not np.can_cast(array.dtype, np.dtype(port.dtype), "same_kind"):
            raise InputError(f"{what} has type {array.dtype}; input '{printable(port.name)}' takes {port.dtype}")
        if not isinstance(array, np.memmap):  # a mapped file is converted row by row, when it is fed
            array = array.astype(port.dtype)
    return array


def _check_shape(shape: tuple[int, ...], port: Port, what: str) -> None:
    """Refuses a shape that cannot fit; the batch axis may be missing."""
    if port.shape is None:
        return
    wanted = port.shape
    padded = (1, *shape) if len(shape) == len(wanted) - 1 else shape
    # The first axis may be any multiple: fixed batches are filled sample by sample.
    fits = len(padded) == len(wanted) and all(
        not isinstance(dim, int) or dim == size or (axis == 0 and len(padded) > 1)
        for axis, (dim, size) in enumerate(zip(wanted, padded, strict=True))
    )
    if not fits:
        raise InputError(f"{what} has shape {dims(shape)}; input '{printable(port.name)}' takes {dims(wanted)}")


def _read_array(path: Path) -> NDArray[Any]:
    with _readable(path, "a .npy array"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.ndarray):
            return array
        array.close()
    raise InputError(f"{path} is an archive, not a .npy array: name it .npz")


def _read_archive(path: Path, ports: Mapping[str, Port]) -> dict[str, NDArray[Any]]:
    """The arrays of a `.npz`; their shapes are checked before anything is unpacked."""
    with _readable(path, "a .npz archive"), path.open("rb") as file:
        if zipfile.is_zipfile(file):
            file.seek(0)
            with zipfile.ZipFile(file) as packed:
                for member in packed.infolist():
                    name = member.filename.removesuffix(".npy")
                    if name in ports:
                        with packed.open(member) as entry:
                            _check_shape(_npy_shape(entry), ports[name], f"'{printable(name)}' in {path}")
                size = sum(member.file_size for member in packed.infolist())
            if size > MAX_ARCHIVE_BYTES:
                raise InputError(f"{path} unpacks to {size:,} bytes; the limit is {MAX_ARCHIVE_BYTES:,}: give .npy")
        file.seek(0)
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.ndarray):
            with archive:
                return {name: archive[name] for name in archive.files}
    raise InputError(f"{path} is a single array: name it .npy")


def _npy_shape(file: IO[bytes]) -> tuple[int, ...]:
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    major, _ = np.lib.format.read_magic(file)
    shape, _, _ = read[min(major, 2)](file)
    return shape


@contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    """Turns what numpy raises on a file that is not there, damaged or full of pickles into one line."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a file")
        yield
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except InputError:
        raise
    except Exception as error:  # damaged headers and archives raise a dozen kinds
        raise InputError(f"{path} is not {what}: {printable(str(error))}") from None


def _ports(model: Model) -> dict[str, Port]:
    return {port.name: port for port in model.inputs}


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
