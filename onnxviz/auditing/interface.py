"""The interface of a model: what a program that calls it relies on, and where another version's differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from onnxviz.auditing.finding import Severity
from onnxviz.messages import dims, printable
from onnxviz.model.model import Model
from onnxviz.model.ports import Port
from onnxviz.model.scores import class_names

Dims = tuple[int | str | None, ...] | None


class InterfaceChange(NamedTuple):
    """One change of an interface: how much it matters, what it is about, and what it is, in words."""

    severity: Severity
    where: str
    words: str


@dataclass(frozen=True)
class Terminal:
    """An input or output.

    Attributes:
        name: the tensor's.
        dtype: numpy's name of the element type, "" where it is not declared.
        shape: sizes, names of open ones, None for open ones without a name; None where it is not declared.
    """

    name: str
    dtype: str
    shape: Dims

    @classmethod
    def of(cls, port: Port) -> Terminal:
        """That of a model."""
        return cls(port.name, port.dtype, port.shape)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"name": self.name, "dtype": self.dtype, "shape": None if self.shape is None else list(self.shape)}

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Terminal:
        """That of which `as_dict` made the entry.

        Raises:
            TypeError: it is none.
        """
        shape = entry["shape"]
        if shape is not None and not all(isinstance(size, int | str | None) for size in shape):
            raise TypeError(f"{shape!r} is no shape")
        return cls(str(entry["name"]), str(entry["dtype"]), None if shape is None else tuple(shape))


@dataclass(frozen=True)
class Interface:
    """What a caller of a model relies on.

    Attributes:
        inputs, outputs: in their order.
        preprocessing: how images are prepared, as the metadata or the graph tell; None where neither does.
        classes: names of the classes, as the metadata have them; empty where they have none.
        opset: version of each operator set, by domain.
    """

    inputs: tuple[Terminal, ...]
    outputs: tuple[Terminal, ...]
    preprocessing: Mapping[str, Any] | None
    classes: tuple[str, ...]
    opset: Mapping[str, int]

    @classmethod
    def of(cls, model: Model) -> Interface:
        """That of a model."""
        inputs, outputs = (tuple(map(Terminal.of, ports)) for ports in (model.inputs, model.outputs))
        return cls(inputs, outputs, model.preprocessing, tuple(class_names(model)), model.opset)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "inputs": [one.as_dict() for one in self.inputs], "outputs": [one.as_dict() for one in self.outputs],
            "preprocessing": self.preprocessing, "classes": list(self.classes), "opset": dict(self.opset),
        }  # fmt: skip

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Interface:
        """That of which `as_dict` made the entry.

        Raises:
            LookupError, TypeError, ValueError: it is broken.
        """
        preprocessing = entry["preprocessing"]
        return cls(
            tuple(map(Terminal.read, entry["inputs"])), tuple(map(Terminal.read, entry["outputs"])),
            None if preprocessing is None else dict(preprocessing), tuple(map(str, entry["classes"])),
            {str(domain): int(version) for domain, version in entry["opset"].items()},
        )  # fmt: skip


def interface_changes(before: Interface, after: Interface) -> Iterator[InterfaceChange]:
    """Where an interface differs from that of the release, tensor by tensor."""
    yield from _terminals("input", before.inputs, after.inputs)
    yield from _terminals("output", before.outputs, after.outputs)
    yield from _preprocessing(before.preprocessing, after.preprocessing)
    yield from _classes(before.classes, after.classes)
    for domain in sorted({*before.opset, *after.opset}):
        old, new = before.opset.get(domain), after.opset.get(domain)
        if old != new:
            what = f"'{printable(domain)}'" if domain else "ONNX"
            words = f"operators of {what} are of version {new or 'none'}, and were of {old or 'none'}"
            yield InterfaceChange(Severity.WARNING, "opset", words)


def _terminals(noun: str, before: Sequence[Terminal], after: Sequence[Terminal]) -> Iterator[InterfaceChange]:
    """Inputs, or outputs: by their names; where as many are there and names are new, by their places."""
    old, new = [one.name for one in before], [one.name for one in after]
    pairs = [(one, after[new.index(one.name)]) for one in before if one.name in new]
    rest = [one for one in before if one.name not in new], [one for one in after if one.name not in old]
    if len(rest[0]) == len(rest[1]):
        for one, other in zip(*rest, strict=True):
            words = f"{noun} '{printable(one.name)}' is called '{printable(other.name)}'"
            yield InterfaceChange(Severity.ERROR, printable(other.name), words)
            pairs.append((one, other))
    else:
        for one in rest[0]:
            words = f"{noun} '{printable(one.name)}' is gone"
            yield InterfaceChange(Severity.ERROR, printable(one.name), words)
        for one in rest[1]:
            words = f"there is a new {noun} '{printable(one.name)}', {dims(one.shape)} {one.dtype}"
            yield InterfaceChange(Severity.ERROR, printable(one.name), words)
    common = [[name for name in names if name in old and name in new] for names in (old, new)]
    if common[0] != common[1]:
        words = f"the {noun}s are in another order: {_listed(common[1])}, and were {_listed(common[0])}"
        yield InterfaceChange(Severity.ERROR, printable(common[1][0]), words)
    for one, other in pairs:
        yield from _kinds(noun, one, other)


def _kinds(noun: str, before: Terminal, after: Terminal) -> Iterator[InterfaceChange]:
    """Types and shapes of an input or output that both have."""
    where = printable(after.name)
    if before.dtype != after.dtype:
        words = f"{noun} '{where}' is {after.dtype or '?'}, and was {before.dtype or '?'}"
        yield InterfaceChange(Severity.ERROR, where, words)
    if before.shape == after.shape:
        return
    words = f"{noun} '{where}' is {dims(after.shape)}, and was {dims(before.shape)}"
    if before.shape is None or after.shape is None or len(before.shape) != len(after.shape):
        yield InterfaceChange(Severity.ERROR, where, words)
        return
    changed = [(old, new) for old, new in zip(before.shape, after.shape, strict=True) if old != new]
    if not any(isinstance(size, int) for pair in changed for size in pair):
        yield InterfaceChange(Severity.NOTE, where, f"{words}: names of open sizes alone")
    elif noun == "input" and not any(isinstance(new, int) for _, new in changed):
        yield InterfaceChange(Severity.NOTE, where, f"{words}: it takes what it took, and more")
    else:
        yield InterfaceChange(Severity.ERROR, where, words)


def _preprocessing(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Iterator[InterfaceChange]:
    if before == after:
        return
    if before is None:
        words = "the model says now how images are prepared, which it did not"
        yield InterfaceChange(Severity.NOTE, "preprocessing", words)
        return
    if after is None:
        words = "the model does not say any more how images are prepared"
    else:
        changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
        told = [f"{key} is {after.get(key)}, and was {before.get(key)}" for key in changed]
        words = f"images are prepared otherwise: {printable('; '.join(told), 300)}"
    yield InterfaceChange(Severity.ERROR, "preprocessing", words)


def _classes(before: Sequence[str], after: Sequence[str]) -> Iterator[InterfaceChange]:
    if before == after:
        return
    if not before:
        yield InterfaceChange(Severity.NOTE, "classes", f"the metadata name {len(after):,} classes, and named none")
        return
    words = f"the metadata name {len(after):,} classes, and named {len(before):,}"
    if len(before) == len(after):
        other = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
        first = other[0]
        moved = sorted(before) == sorted(after)
        words = (
            f"{len(other):,} of {len(after):,} classes {'stand in another order' if moved else 'have another name'}: "
            f"class {first} is '{printable(after[first])}', and was '{printable(before[first])}'"
        )
    yield InterfaceChange(Severity.ERROR, "classes", words)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(printable(name, 60) for name in names)
