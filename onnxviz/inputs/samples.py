"""Samples: image files, folders, arrays and archives, made to fit a model's inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.inputs.arrays import as_array, converted, fitted, read_archive, read_array, whole_numbers
from onnxviz.inputs.expectation import Expectation
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.image_files import MAX_PIXELS, ImageReader, Picture, held_picture, parse_colour
from onnxviz.inputs.image_pages import Page, find_pages, one_page, parse_address
from onnxviz.inputs.image_sets import LIST_SUFFIX, images_in, is_set, listed_in, paired_in
from onnxviz.inputs.picture_ports import channels_of, image_size, is_picture, no_such_input, only_input, ports_of
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.messages import dims, option, printable, refuse_unheeded
from onnxviz.model.batch_axis import batch_inputs
from onnxviz.model.model import Model
from onnxviz.model.ports import Port

Feeds = dict[str, NDArray[Any]]
# What a caller may give: an array, a path, several of them, or one for each input's name.
InputLike = Any
# (height, width) in pixels, or the side of a square.
Size = int | Annotated[tuple[int, int], "(height, width) in pixels"]
# How numpy and frameworks, and Pillow, say that something is an array; an image that is asked for it is decoded.
_ARRAYS = ("__array__", "__array_interface__")
_TAKEN = "an image, an array, a path, a mapping of those by input name, or a sequence of those"


@dataclass(frozen=True)
class Sample:
    """One input of the model, or a batch of them; read when it is needed.

    Attributes:
        label: what messages and files call it.
        read: gives the arrays, by input name, batch axis included.
        batchable: whether the arrays of several samples may be joined along the first axis.
        path: the whole path of an image file, with the page where it has several (`photo.tif[3]`); "" for an array.
        in_turn: whether it is read from a file that stays open for the samples behind it: by one thread, in order.
        picture: an image that was given in memory; None for a file and for an array.
    """

    label: str
    read: Callable[[], Feeds]
    batchable: bool
    path: str = ""
    in_turn: bool = False
    picture: Picture | None = None

    @property
    def photo(self) -> str | Picture:
        """Where its picture is: in a file, or in memory; "" for an array."""
        return self.path or self.picture or ""


@dataclass(frozen=True)
class ImageOptions:
    """How image files are read.

    Attributes:
        expected: what is done to the pixels, and who says so.
        size: (height, width) for inputs that leave it open; None for each picture's own.
        fit: see `onnxviz.inputs.image_files.read_image`.
        background: colour behind transparent pixels.
        given: names of the options that were asked for; the others are as usual.
    """

    expected: Expectation
    size: tuple[int, int] | None = None
    fit: Fit = "stretch"
    background: str = "white"
    given: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        model: Model,
        preprocess: str | Preprocessing = "auto",
        size: Size | None = None,
        fit: Fit | None = None,
        background: str | None = None,
    ) -> ImageOptions:
        """How to read image files for `model`.

        Args:
            model: what `auto` asks.
            preprocess: see `Expectation.of`.
            size: (height, width) in pixels; a number for a square.
            fit: "stretch" or "crop"; None for "stretch".
            background: a colour; None for white.
        """
        asked = {"preprocess": preprocess != "auto", "size": size, "fit": fit, "background": background}
        given = tuple(name for name, value in asked.items() if value)
        size = (size, size) if isinstance(size, int) else size
        fit, background = fit or "stretch", background or "white"
        parse_colour(background)
        return cls(Expectation.of(model, preprocess), size, fit, background, given)

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to the pixels."""
        return self.expected.preprocessing

    @property
    def asked(self) -> dict[str, Any]:
        """The options that were asked for, by the names under which `ImageOptions.of` and the verbs take them."""
        every = {"preprocess": self.preprocessing, "size": self.size, "fit": self.fit, "background": self.background}
        return {name: every[name] for name in self.given}

    @property
    def assumed(self) -> bool:
        """Whether nobody said so."""
        return self.expected.assumed

    def check_heeded(self, model: Model, found: Sequence[Sample]) -> None:
        """Refuses options that nothing heeds of these samples of `model`.

        Raises:
            UnheededOptionError: an option was given although there is no image, a fit though each keeps its own size,
                or a size that the model does not take.
        """
        given = dict.fromkeys(self.given, True)
        if not any(sample.photo for sample in found):
            refuse_unheeded(given, "arrays are fed as they are")
            return
        if self.size is None and not any(map(image_size, model.inputs)):
            refuse_unheeded({"fit": given.get("fit")}, "each image keeps its own size, {size} sets one")
        self.check_size(model)

    def check_size(self, model: Model) -> None:
        """Refuses a size that no input of `model` takes.

        Raises:
            UnheededOptionError: it does not.
        """
        fixed = [size for size in map(image_size, model.inputs) if size is not None]
        if self.size is not None and fixed and self.size not in fixed:
            why = f"{model.label} takes images of {dims(fixed[0])}, not of {dims(self.size)}"
            refuse_unheeded({"size": self.size}, why)

    def as_dict(self) -> dict[str, Any]:
        """The preprocessing as JSON types, with who says so and why."""
        return self.expected.as_dict()


def samples(model: Model, given: InputLike, images: ImageOptions) -> list[Sample]:
    """The samples that `given` means.

    Args:
        model: the model that they are for.
        given: an image of Pillow's or (H, W, 3) uint8, RGB; an array in the model's layout (with or without the batch
            axis); the path of an image, of a folder of images (and of folders of them), of a `.npy`, of a `.npz` keyed
            by input name, or of a `.txt` with a path a line; `NAME=PATH` (a string) or a mapping of input names for one
            input of several; or a sequence of those. Each page or frame of an image file is a sample; `photo.tif[3]` is
            one of them, `photo.tif[:]` are all.
        images: how image files are read.

    Raises:
        InputError: nothing there, or it does not fit the model.
    """
    if isinstance(given, Mapping):
        return _told_apart(_by_name(model, given, images))
    if isinstance(given, str | PathLike) or any(hasattr(type(given), how) for how in _ARRAYS):
        given = [given]
    if not isinstance(given, Sequence) or isinstance(given, bytes | bytearray):
        raise InputError(f"an input is {_TAKEN}, not {type(given).__name__}")
    named: dict[str, InputLike] = {}
    found: list[Sample] = []
    names = {port.name for port in model.inputs}
    for item in given:
        name, equals, path = item.partition("=") if isinstance(item, str) else ("", "", "")
        if equals and not Path(str(item)).exists():
            if name not in names:
                raise InputError(no_such_input(model, name))
            if name in named:
                raise InputError(f"input '{printable(name)}' is given twice")
            named[name] = path
        else:
            found.extend(_one(model, item, images))
    if named and found:
        raise InputError("either every input is given as NAME=PATH, or none")
    if named:
        found = _by_name(model, named, images)
    if not found:
        raise InputError("no input was given")
    return _told_apart(found)


def _told_apart(found: Sequence[Sample]) -> list[Sample]:
    """The samples; those that are called alike by their paths."""
    times = Counter(sample.label for sample in found)
    return [s if times[s.label] == 1 else replace(s, label=s.path or s.label) for s in found]


def _one(model: Model, item: InputLike, images: ImageOptions) -> list[Sample]:
    if not isinstance(item, str | PathLike):
        port = only_input(model)
        if (picture := held_picture(item, port.layout, port.shape)) is not None:
            read = partial(_image_feeds, model, port, picture, 0, images)
            return [Sample(str(picture.path), read, True, picture=picture)]
        return _rows({port.name: fitted(as_array(item, _TAKEN), port, "the array")}, ports_of(model), "array")
    path = Path(item)
    if path.is_dir():
        return [one for file, label in images_in(path) for one in _images(model, file, None, images, label)]
    if path.suffix.lower() == LIST_SUFFIX and path.is_file():
        return [one for item in listed_in(path) for one in _one(model, item, images)]
    if path.suffix.lower() == ".npz":
        return _by_name(model, read_archive(path, ports_of(model)), images, label=path.name)
    if path.suffix.lower() == ".npy":
        port = only_input(model)
        return _rows({port.name: fitted(read_array(path), port, str(path))}, ports_of(model), path.name)
    path, page = parse_address(str(item))
    if not path.exists():
        raise InputError(f"there is no file {path}")
    return _images(model, path, page, images)


def _by_name(model: Model, given: Mapping[str, InputLike], images: ImageOptions, label: str = "") -> list[Sample]:
    ports = ports_of(model)
    for name in given:
        if name not in ports:
            raise InputError(no_such_input(model, str(name)))
    if sets := {name: Path(item) for name, item in given.items() if is_set(item)}:
        return _by_set(model, {name: given[name] for name in given if name not in sets}, sets, images)
    feeds: Feeds = {}
    image: str | Picture = ""
    for name, item in given.items():
        port = ports[name]
        if (picture := held_picture(item, port.layout, port.shape)) is not None:
            feeds[name] = image_input(model, port, picture, 0, images)
            label, image = label or str(picture.path), picture
        elif isinstance(item, str | PathLike):
            path = Path(item)
            if path.suffix.lower() == ".npy":
                feeds[name] = fitted(read_array(path), port, str(path))
            else:
                file, place = one_page(str(path))
                feeds[name] = image_input(model, port, ImageReader(file), place, images)
                image = str(path)
            label = label or path.name
        else:
            feeds[name] = fitted(as_array(item, _TAKEN), port, f"the array for '{printable(name)}'")
    if not feeds:
        raise InputError("no input was given")
    return _rows(feeds, ports, label or "array", image)


def _by_set(
    model: Model, others: Mapping[str, InputLike], sets: Mapping[str, Path], images: ImageOptions
) -> list[Sample]:
    """A sample for each image of folders or lists, those that belong together together.

    What else is given goes with each; or, a row for each line, with the lines of lists.
    """
    if len(model.inputs) == 1:
        return _one(model, next(iter(sets.values())), images)
    alike = [sample.read() for sample in _by_name(model, others, images)] if others else [{}]
    batched = batch_inputs(model.inputs)
    paired = paired_in(sets)
    by_line = len(alike) == len(paired) and not any(path.is_dir() for path in sets.values())
    for name in batched & alike[0].keys():
        if (len(alike) > 1 and not by_line) or len(alike[0][name]) != 1:
            first = next(iter(sets.values()))
            raise InputError(
                f"input '{printable(name)}' goes with each image of {first}: give one row, or as many as a list (.txt) "
                "of paths has lines"
            )
    made = []
    for place, (label, paths) in enumerate(paired):
        read = partial(_joined, model, alike[place if by_line else 0], paths, images)
        photo = next((path for path in paths.values() if not path.lower().endswith(".npy")), "")
        made.append(Sample(label, read, batched >= {*others, *sets}, photo))
    return made


def _joined(model: Model, others: Feeds, paths: Mapping[str, InputLike], images: ImageOptions) -> Feeds:
    found = _by_name(model, paths, images)
    if len(found) > 1:
        raise InputError(f"{', '.join(map(str, paths.values()))} hold {len(found)} samples where one is meant")
    return {**others, **found[0].read()}


def _rows(feeds: Feeds, ports: Mapping[str, Port], label: str, image: str | Picture = "") -> list[Sample]:
    """One sample for each entry of the batch axis, where the arrays that have one agree; else one sample of it all.

    An array without a batch axis goes with every sample. A slice is taken, and converted, when it is fed.
    """

    def converting(name: str, array: NDArray[Any]) -> NDArray[Any]:
        return converted(array, ports[name], f"input '{printable(name)}' of {label}")

    def entry(index: int) -> Sample:
        def read() -> Feeds:
            return {n: converting(n, a[index : index + 1] if n in batched else a) for n, a in feeds.items()}

        return Sample(f"{label}[{index}]", read, batched == feeds.keys())

    batched = batch_inputs(ports.values()) & feeds.keys()
    lengths = {feeds[name].shape[0] for name in batched}
    fixed = {shape[0] for shape in (ports[name].shape for name in batched) if shape and isinstance(shape[0], int)}
    length = max(lengths) if len(lengths) == 1 else 1
    if length <= 1 or len(fixed) > 1 or fixed == {length}:
        single = lengths == {1} and batched == feeds.keys()
        path, picture = (image, None) if isinstance(image, str) else ("", image)
        return [Sample(label, lambda: {n: converting(n, a) for n, a in feeds.items()}, single, path, picture=picture)]
    return [entry(index) for index in range(length)]


def _images(model: Model, path: Path, page: Page, images: ImageOptions, label: str = "") -> list[Sample]:
    """The pages of an image file that are meant, as samples; what is wrong with a file is said when it is read."""
    port = only_input(model)
    label = label or path.name
    pages = find_pages(path)
    try:
        chosen = pages.chosen(page, path, channels_of(port))
    except InputError as error:
        return [Sample(label, partial(_refuse, str(error)), False, str(path))]
    file = ImageReader(path, last=pages.places[chosen[-1]])
    made = []
    for number in chosen:
        suffix = f"[{number}]" if len(pages.places) > 1 else ""
        read = partial(_image_feeds, model, port, file, pages.places[number], images)
        made.append(Sample(f"{label}{suffix}", read, True, f"{path}{suffix}", in_turn=len(chosen) > 1))
    return made


def _image_feeds(model: Model, port: Port, file: ImageReader | Picture, place: int, images: ImageOptions) -> Feeds:
    return {port.name: image_input(model, port, file, place, images)}


def _refuse(message: str) -> Feeds:
    raise InputError(message)


def image_input(
    model: Model, port: Port, file: ImageReader | Picture, place: int, images: ImageOptions
) -> NDArray[Any]:
    """The array for `port` made from the page at this place of an image: (1, C, H, W) or (1, H, W, C).

    Raises:
        InputError: the page cannot be read, has other channels, or gives values that the input cannot hold; or the
            input is not one for images.
    """
    if not is_picture(port) or port.shape is None:
        raise InputError(
            f"input '{printable(port.name)}' of {model.label} has shape {dims(port.shape)}, not an image's: give a .npy"
        )
    axes = {axis: port.shape[position] for position, axis in enumerate(port.layout)}
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
        raise InputError(f"{model.label} takes images of {wanted} and leaves a side open: give {option('size', 'HxW')}")
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"images of {size[0]}x{size[1]} are too large; the limit is {MAX_PIXELS:,} pixels")
    pixels = file.read(place, channels=channels_of(port), size=size, fit=images.fit, background=images.background)
    return as_input(port, pixels, images, file.path)


def as_input(port: Port, pixels: NDArray[Any], images: ImageOptions, path: Path) -> NDArray[Any]:
    """The array for `port`, (1, C, H, W) or (1, H, W, C), made from pixels.

    Args:
        port: an input for pictures.
        pixels: (H, W, C), 0…255.
        images: how they are prepared.
        path: where they come from, in messages.

    Raises:
        InputError: they give values that the input cannot hold.
    """
    chosen = images.expected.of_input(port.name)
    values = chosen.apply(pixels)
    if port.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    if port.dtype.startswith(("uint", "int")):
        values = whole_numbers(values, port, chosen.name, path, deep=pixels.dtype != np.uint8)
    what = f"preprocessing '{chosen.name}' of {path}"
    return np.ascontiguousarray(converted(values[None], port, what))
