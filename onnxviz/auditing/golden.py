"""Golden vectors: inputs and what a model answered to them, kept as ONNX test data, to be replayed elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from onnxviz.auditing.drift import precision
from onnxviz.auditing.interface import Dims, Terminal
from onnxviz.comparison.reading import Precision
from onnxviz.errors import InputError
from onnxviz.files import replacing_folder
from onnxviz.inputs.noise import noise_samples
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import Feeds, ImageOptions, InputLike, samples
from onnxviz.messages import dims, for_reader, printable
from onnxviz.model.model import Model, Source, load
from onnxviz.runtime.batching import DEFAULT_MEMORY, Batching
from onnxviz.runtime.session import RunOptions, Session

FORMAT_VERSION = 1
HEAD = "golden.json"
"""The file in a folder of golden vectors that says what they are of."""
COUNT = 8
"""Vectors at most; data are taken evenly from the first to the last."""
_LARGEST = 2**30  # bytes of a file that is read


@dataclass(frozen=True, eq=False)
class GoldenVector:
    """What a model was fed, and what it answered; arrays by name, whole batches.

    Attributes:
        label: what the sample was called.
        inputs: of the model.
        outputs: of the model.
    """

    label: str
    inputs: Feeds
    outputs: Feeds


@dataclass(frozen=True, eq=False)
class Golden:
    """Golden vectors of a model.

    Attributes:
        head: its provenance as JSON types, as every manifest begins: the model with its SHA-256, versions, provider.
        inputs, outputs: of the model.
        precision: the lowest in which it computed.
        vectors: at least one.
        path: of the folder that they were read from; "" of new ones.
    """

    head: Mapping[str, Any]
    inputs: tuple[Terminal, ...]
    outputs: tuple[Terminal, ...]
    precision: Precision
    vectors: tuple[GoldenVector, ...]
    path: str = ""

    def __repr__(self) -> str:
        return f"Golden({self.head['model']['path']!r}, {len(self.vectors)} vectors)"

    @classmethod
    def of(
        cls,
        model: Source,
        data: InputLike = None,
        *,
        images: Mapping[str, Any] | None = None,
        provider: str = "cpu",
        threads: int = 0,
        memory: int = DEFAULT_MEMORY,
    ) -> Golden:
        """What a model answers to samples of data.

        Args:
            model: an opened model, or what `load` opens.
            data: images or arrays, as for `capture`; None for seeded noise.
            images: how image files are prepared: any of `preprocess`, `size`, `fit` and `background`, as for `audit`.
            provider: where it runs.
            threads: of one operator; 0 for onnxruntime's choice.
            memory: bytes that a batch may take, about.

        Raises:
            OnnxvizError: it cannot be opened or run, or the data cannot be read.
        """
        opened = load(model)
        prepared = ImageOptions.of(opened, **(images or {}))
        options = RunOptions(provider, memory, threads)
        found = noise_samples(opened, prepared, COUNT) if data is None else samples(opened, data, prepared)
        taken = [found[place * len(found) // COUNT] for place in range(COUNT)] if len(found) > COUNT else found
        session, batching = Session.of(opened, None, options), Batching.of(opened, memory)
        names = [port.name for port in opened.outputs]
        vectors = []
        for sample in taken:
            feeds = batching.padded(session.own(batching.rows(sample.read())[0]))
            answers = session.run(names, feeds)
            vectors.append(GoldenVector(sample.label, feeds, dict(zip(names, answers, strict=True))))
        reads_images = any(sample.path for sample in taken)
        head = Provenance(opened, options, prepared if reads_images else None).as_dict()
        inputs, outputs = (tuple(map(Terminal.of, ports)) for ports in (opened.inputs, opened.outputs))
        return cls(head, inputs, outputs, precision(opened), tuple(vectors))

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes a folder that `load` reads: ONNX's test data, and `golden.json`.

        As in ONNX's backend tests: `test_data_set_0/input_0.pb`, `output_0.pb`, and so on. A folder of golden vectors
        that is there is replaced; any other that is not empty is refused.

        Raises:
            OnnxvizError: it cannot be written; what was there stays.
        """
        target = Path(path)
        document = {
            **self.head, "golden": FORMAT_VERSION, "precision": self.precision.name,
            "inputs": [one.as_dict() for one in self.inputs], "outputs": [one.as_dict() for one in self.outputs],
            "vectors": [{"folder": _folder(n), "sample": one.label} for n, one in enumerate(self.vectors)],
        }  # fmt: skip
        with replacing_folder(target, HEAD) as folder:
            for number, vector in enumerate(self.vectors):
                place = folder / _folder(number)
                place.mkdir()
                for kind, ports, arrays in (
                    ("input", self.inputs, vector.inputs),
                    ("output", self.outputs, vector.outputs),
                ):
                    for index, port in enumerate(ports):
                        tensor = numpy_helper.from_array(np.ascontiguousarray(arrays[port.name]), port.name)
                        (place / f"{kind}_{index}.pb").write_bytes(tensor.SerializeToString())
            (folder / HEAD).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return target

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Golden:
        """What `save` wrote.

        Raises:
            InputError: there is none, or it is broken or of a later version.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise InputError(f"there is no folder {path} of golden vectors: {_how_made()} makes one")
        if not (folder / HEAD).is_file():
            raise InputError(f"{path} holds no golden vectors ({HEAD} is not there): {_how_made()} makes them")
        try:
            document = json.loads((folder / HEAD).read_text(encoding="utf-8"))
            if document["golden"] > FORMAT_VERSION:
                raise InputError(
                    f"{path} holds golden vectors of version {printable(str(document['golden']), 20)}, written by a "
                    f"later onnxviz; this one reads version {FORMAT_VERSION}"
                )
            inputs, outputs = (tuple(map(Terminal.read, document[which])) for which in ("inputs", "outputs"))
            vectors = [
                GoldenVector(
                    str(entry["sample"]),
                    _arrays(folder / _folder(number), "input", inputs),
                    _arrays(folder / _folder(number), "output", outputs),
                )
                for number, entry in enumerate(document["vectors"])
            ]
            if not vectors:
                raise InputError("there is not one")
            head = {key: document[key] for key in ("version", "model", "versions", "preprocessing", "provider")}
            if not isinstance(head["model"]["path"], str) or not isinstance(head["model"]["sha256"], str):
                raise InputError("they do not say of which model they are")
            return cls(head, inputs, outputs, Precision[document["precision"]], tuple(vectors), str(path))
        except InputError as error:
            if "later onnxviz" in str(error):
                raise
            raise InputError(f"{path} holds broken golden vectors: {error}") from None
        except Exception as error:  # damaged protobufs and JSON raise a dozen kinds
            what = printable(f"{type(error).__name__}: {error}", 200)
            raise InputError(f"{path} holds broken golden vectors: {what}") from None

    def check_fits(self, model: Model) -> None:
        """Refuses a model that cannot be fed these inputs, or has other outputs.

        Raises:
            InputError: the first difference.
        """
        vector = self.vectors[0]
        for kind, ports, mine, arrays in (
            ("input", model.inputs, self.inputs, vector.inputs),
            ("output", model.outputs, self.outputs, vector.outputs),
        ):
            there = {port.name: port for port in ports}
            if {*there} != {one.name for one in mine}:
                names, theirs = _listed(list(there)), _listed([one.name for one in mine])
                raise self._misfit(model, f"it has the {kind}s {names}, and the vectors are of {theirs}")
            for one in mine:
                port, shape = there[one.name], arrays[one.name].shape
                if port.dtype != one.dtype or not _fits(shape, port.shape):
                    own, theirs = f"{dims(port.shape)} {port.dtype or '?'}", f"{dims(shape)} {one.dtype or '?'}"
                    what = f"its {kind} '{printable(one.name)}' is {own}, and the vectors hold {theirs}"
                    raise self._misfit(model, what)

    def _misfit(self, model: Model, what: str) -> InputError:
        where = self.path or "these vectors"
        return InputError(f"{where} cannot be replayed on {model.label}: {what}; write new ones with {_how_made()}")


def _fits(shape: Sequence[int], declared: Dims) -> bool:
    """Whether an array may have the shape that is declared."""
    return declared is None or (
        len(shape) == len(declared)
        and all(not isinstance(one, int) or one == size for one, size in zip(declared, shape, strict=True))
    )


def _folder(number: int) -> str:
    return f"test_data_set_{number}"


def _arrays(folder: Path, kind: str, ports: Sequence[Terminal]) -> dict[str, NDArray[Any]]:
    return {port.name: _array(folder / f"{kind}_{index}.pb", port) for index, port in enumerate(ports)}


def _array(path: Path, port: Terminal) -> NDArray[Any]:
    """A tensor in a file; what lies outside of it is not followed.

    Raises:
        InputError: it is too large, or another tensor.
    """
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path.name} has more than 1 GiB")
    tensor = onnx.TensorProto.FromString(path.read_bytes())
    if tensor.data_location == TensorProto.EXTERNAL or tensor.name != port.name:
        raise InputError(f"{path.parent.name}/{path.name} does not hold the tensor '{printable(port.name)}'")
    return numpy_helper.to_array(tensor)


def _how_made() -> str:
    return for_reader("--write-golden", "Golden.of(model, data).save(folder)")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(printable(name, 60) for name in names)
