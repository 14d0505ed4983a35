"""The same data for two models: each reads it in its own layout and range; what cannot be fed to both is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxviz.comparison.side import Side
from onnxviz.errors import InputError
from onnxviz.inputs.arrays import converted
from onnxviz.inputs.noise import check_noise_heeded, noise_samples
from onnxviz.inputs.picture_ports import image_size, is_picture
from onnxviz.inputs.samples import Feeds, ImageOptions, InputLike, Sample, samples
from onnxviz.messages import dims, option, printable
from onnxviz.model.ports import Port

Ports = Sequence[tuple[Port, Port]]
"""Inputs that are fed the same: A's and B's."""
NOISE = 8
"""Samples of noise, where no data are given."""


@dataclass(frozen=True)
class PairedSample:
    """One sample as both models read it."""

    a: Sample
    b: Sample

    def read(self) -> tuple[Feeds, Feeds]:
        """The arrays for both; what is the same sample for both is read once."""
        first = self.a.read()
        return first, first if self.b is self.a else self.b.read()

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.a.label


def settle_preprocessing(a: Side, b: Side) -> tuple[Side, Side, str]:
    """Both sides, one of which takes over how the other's images are prepared where nothing says it of its own.

    Returns:
        The sides, and what was taken over, in words; "" if nothing.
    """
    for one, other in ((a, b), (b, a)):
        mine, theirs = one.images.expected, other.images.expected
        told = not theirs.assumed and not theirs.others  # by names that are the other model's
        if mine.assumed and told and mine.preprocessing != theirs.preprocessing:
            settled = replace(one, images=replace(one.images, expected=theirs))
            words = (
                f"{one.label} does not say how images are prepared: as those of {other.label}, "
                f"'{theirs.preprocessing.words}'"
            )
            return (settled, other, words) if one is a else (other, settled, words)
    return a, b, ""


def paired_samples(a: Side, b: Side, data: InputLike) -> list[PairedSample]:
    """The samples for both models.

    Args:
        a: a model.
        b: the other.
        data: as for `samples`, in the layout and under the input names of `a`; None for noise.

    Raises:
        InputError: the models cannot be fed the same, or the data do not fit.
    """
    ports = _paired_ports(a, b)
    mine, theirs = _sized_alike(a, b, ports)
    if data is None:
        return _noise(a, b, ports, (mine, theirs))
    first = samples(a.model, data, mine)
    mine.check_heeded(a.model, first)
    if all(sample.photo for sample in first) and not _by_name(data):
        second = samples(b.model, data, theirs)
        theirs.check_heeded(b.model, second)
        return [PairedSample(*both) for both in zip(first, second, strict=True)]
    _refuse_other_forms(a, b, ports)
    if any(sample.photo for sample in first) and mine.expected != theirs.expected:
        raise InputError(
            f"images given by the name of an input are prepared alike for both: give {option('preprocess')}"
        )
    return [PairedSample(sample, _renamed(sample, ports)) for sample in first]


def _sized_alike(a: Side, b: Side, ports: Ports) -> tuple[ImageOptions, ImageOptions]:
    """How images are read for both: at the size that one model fixes where the other leaves it open."""
    fixed = {size for pair in ports for size in map(image_size, pair) if size is not None}
    if a.images.size is not None or len(fixed) != 1:
        return a.images, b.images
    (size,) = fixed
    return replace(a.images, size=size), replace(b.images, size=size)


def _noise(a: Side, b: Side, ports: Ports, images: tuple[ImageOptions, ImageOptions]) -> list[PairedSample]:
    for one, other in ports:
        if one.layout != other.layout and not (is_picture(one) and is_picture(other)):
            raise InputError(f"noise cannot be fed to both: {_layouts(a, one, b, other)}")
    for side, own in zip((a, b), images, strict=True):
        check_noise_heeded(side.model, own)
    first = noise_samples(a.model, images[0], NOISE, [one.name for one, _ in ports])
    second = noise_samples(b.model, images[1], NOISE, [other.name for _, other in ports])
    return [PairedSample(*both) for both in zip(first, second, strict=True)]


def _refuse_other_forms(a: Side, b: Side, ports: Ports) -> None:
    """Refuses to feed arrays where the same one means something else to the other model.

    Raises:
        InputError: it does.
    """
    for one, other in ports:
        remedy = "; give image files" if is_picture(one) and is_picture(other) else ""
        if one.layout != other.layout:
            raise InputError(f"arrays cannot be fed to both: {_layouts(a, one, b, other)}{remedy}")
        if one.dtype != other.dtype and not (_is_real(one) and _is_real(other)):
            what = f"{_input(a, one)} takes {one.dtype or '?'}, {_input(b, other)} {other.dtype or '?'}"
            raise InputError(f"arrays cannot be fed to both: {what}{remedy}")


def _renamed(sample: Sample, ports: Ports) -> Sample:
    """The sample under the other model's names, in its types."""
    theirs = {one.name: other for one, other in ports}

    def read() -> Feeds:
        return {
            theirs[name].name: converted(array, theirs[name], f"input '{printable(name)}' of {sample.label}")
            for name, array in sample.read().items()
        }

    return replace(sample, read=read)


def _by_name(data: InputLike) -> bool:
    """Whether inputs are given by name."""
    given = [data] if isinstance(data, str | Path) or not isinstance(data, list | tuple) else data
    return isinstance(data, Mapping) or any(
        isinstance(item, str) and "=" in item and not Path(item).exists() for item in given
    )


def _paired_ports(a: Side, b: Side) -> Ports:
    """The inputs that are fed the same, by name, or by position where the names are others.

    Raises:
        InputError: there are no such pairs, or sizes differ.
    """
    one, other = a.model.inputs, b.model.inputs
    by_name = {port.name: port for port in other}
    if len(one) != len(other):
        raise _unlike(a, b, f"{_inputs(one)} and {_inputs(other)}")
    if all(port.name in by_name for port in one):
        pairs = [(port, by_name[port.name]) for port in one]
    else:
        pairs = list(zip(one, other, strict=True))
    for mine, theirs in pairs:
        if not _can_be_equal(mine, theirs):
            what = f"'{printable(mine.name)}' is {_words(mine)}, '{printable(theirs.name)}' {_words(theirs)}"
            raise _unlike(a, b, what)
    return pairs


def _can_be_equal(a: Port, b: Port) -> bool:
    """Whether one sample may fit both; the number of samples, and how numbers are stored, may differ."""
    if a.shape is None or b.shape is None:
        return True
    if a.layout and b.layout:
        if sorted(a.layout) != sorted(b.layout):
            return False
        sizes = [(a.shape[a.layout.index(axis)], b.shape[b.layout.index(axis)]) for axis in a.layout if axis != "N"]
    elif len(a.shape) != len(b.shape):
        return False
    else:
        sizes = list(zip(a.shape, b.shape, strict=True))[1:]
    return all(x == y or not (isinstance(x, int) and isinstance(y, int)) for x, y in sizes)


def _unlike(a: Side, b: Side, what: str) -> InputError:
    return InputError(f"{a.label} and {b.label} cannot be fed the same data: {what}")


def _inputs(ports: tuple[Port, ...]) -> str:
    return f"{len(ports)} input{'' if len(ports) == 1 else 's'} ({', '.join(printable(one.name) for one in ports)})"


def _layouts(a: Side, one: Port, b: Side, other: Port) -> str:
    return f"{_input(a, one)} is {one.layout or 'of no known layout'}, {_input(b, other)} {other.layout or 'is not'}"


def _is_real(port: Port) -> bool:
    return port.dtype.startswith(("float", "bfloat"))


def _input(side: Side, port: Port) -> str:
    return f"'{printable(port.name)}' of {side.label}"


def _words(port: Port) -> str:
    return f"{dims(port.shape)} {port.dtype} {port.layout}".rstrip()
