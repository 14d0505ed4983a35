"""Conversion of a Keras or PyTorch model to `.onnx`: traced, folded, compared with its source, written.

Which converters there are is not known here: each is registered under the entry-point group `onnxviz.converters`
(see `onnxviz.conversion.converter.Converter`).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from onnxviz.arguments import typed
from onnxviz.conversion.converter import SourceModel
from onnxviz.conversion.sources import converter_for, input_shapes, resolved
from onnxviz.conversion.verification_record import keep_record
from onnxviz.conversion.verify import Verification
from onnxviz.conversion.verify import verify as compare
from onnxviz.errors import ConversionError
from onnxviz.files import assembling, destination
from onnxviz.inputs.labels import check_labels
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.messages import option
from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.operators import convolution_form
from onnxviz.model.graph.scopes import Scope, plain_domain
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.graph.tensors import TensorFile
from onnxviz.model.model import Model, load, load_file
from onnxviz.model.naming import LAYER_KEY, source_path
from onnxviz.model.normal_form import Scratch
from onnxviz.model.pixels.input_range import common_range, input_ranges, picture_inputs
from onnxviz.model.ports import port_of
from onnxviz.model.preprocessing_note import PREPROCESSING_KEY
from onnxviz.model.scores import NAMES_KEY
from onnxviz.model.writing import write_files
from onnxviz.passes.fold_weights import Folded, fold
from onnxviz.runtime.session import VERSION

DEFAULT_OPSET = 18
# Earlier ones lack what converters write; of the later ones, each converter knows as many as its exporter does.
OPSETS = range(13, 24)


Stage = Callable[[str], None]


@dataclass
class Conversion:
    """What was converted, into what, and how far the two differ.

    Attributes:
        model: the ONNX model.
        source: what was converted, in words.
        framework: its framework.
        versions: versions of what converted it, by package name.
        verification: None where it was not asked for.
        preprocessing: how images are prepared, if that is known; kept in the model.
        notes: what a user should be told.
        seconds: by stage: opening, tracing, folding, writing, verifying.
        files: what was written: the model and, where it has 2 GiB or more, `NAME.data` beside it with the weights.
    """

    model: Model
    source: str
    framework: str
    versions: Mapping[str, str]
    verification: Verification | None
    preprocessing: Preprocessing | None
    notes: list[str]
    seconds: dict[str, float] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The conversion as JSON types."""
        checked = self.verification
        return {
            "source": self.source,
            "framework": self.framework,
            "versions": dict(self.versions),
            "opset": self.model.opset.get(""),
            "parameters": self.model.parameters,
            "layers": len(self.model.layers),
            "preprocessing": self.preprocessing.as_dict() if self.preprocessing is not None else None,
            "verification": None
            if checked is None
            else {**checked.as_dict(), "seconds": round(self.seconds.get("verifying", 0.0), 3)},
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "notes": self.notes,
        }


@typed
def convert(
    source: object,
    *,
    output: str | PathLike[str] | None = None,
    input_shape: str | tuple[int | None, ...] | Mapping[str, tuple[int | None, ...]] | None = None,
    weights: str | PathLike[str] | None = None,
    preprocess: str | Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    opset: int = DEFAULT_OPSET,
    verify: bool = True,
    allow_code_execution: bool = False,
) -> Model:
    """A Keras or PyTorch model as an ONNX model with the same filters, bit for bit, and the same layer names.

    Args:
        source: a model object; a path to a `.keras` or `.h5` file, a SavedModel folder, a `.pt2` or TorchScript file;
            or `module:factory`, a callable or object that gives a model (`module:factory(size=3)` with literals).
        output: the `.onnx` file to write; None for a temporary file that lives as long as the model returned.
        input_shape: sizes of the input with the batch first, `(1, 3, 224, 224)` or "1x3x224x224"; a mapping by input
            name, or "a=1x3x64x64,b=1x10", for several. None (`?`) is an open size. The batch is open where the model
            allows it.
        weights: a Keras weights file or a PyTorch state_dict to load into the model first.
        preprocess: how images are prepared, to be kept in the model; see `Preprocessing.parse`. None: what the graph's
            first operators expect, else what is known of the model, if it is a known one.
        labels: the name of each class, in order, to be kept in the model.
        opset: version of ONNX' operators.
        verify: whether the conversion is compared with its source: every filter and bias bit for bit, every
            convolution's feature map and every output to 1e-4 of its largest value, at two batch sizes. What was found
            is kept in the model, with a hash of the weights (`onnxviz.conversion.verification_record`).
        allow_code_execution: whether code that a file brings along (Lambda layers, pickles, TorchScript) may run.

    Returns:
        The ONNX model.

    Raises:
        ConversionError: the source cannot be converted, or the conversion differs from it; nothing is written then.
        InputError: the labels are not as many as the scores; nothing is written then.
        CodeExecution: the file can only be opened by running its code.
    """
    return conversion(
        source,
        output=output,
        input_shape=input_shape,
        weights=weights,
        preprocess=preprocess,
        labels=labels,
        opset=opset,
        verify=verify,
        allow_code_execution=allow_code_execution,
    ).model


def conversion(
    source: object,
    *,
    output: str | PathLike[str] | None = None,
    input_shape: str | tuple[int | None, ...] | Mapping[str, tuple[int | None, ...]] | None = None,
    weights: str | PathLike[str] | None = None,
    preprocess: str | Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    opset: int = DEFAULT_OPSET,
    verify: bool = True,
    allow_code_execution: bool = False,
    on_stage: Stage = lambda stage: None,
) -> Conversion:
    """As `convert`, with what was found on the way; `on_stage` is called with each stage's name as it begins."""
    if opset not in OPSETS:
        raise ConversionError(f"opset {opset} is not supported; there are {OPSETS[0]} to {OPSETS[-1]}")
    shapes = input_shapes(input_shape)
    asked = Preprocessing.parse(preprocess) if isinstance(preprocess, str) else preprocess
    path = destination(Path(output)) if output is not None else None  # refused before a long conversion, not after it
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        on_stage(name)
        started = time.perf_counter()
        yield
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started

    with stage("opening"):
        found, label = resolved(source)
        converter = converter_for(found, label)
        opened = converter.open(
            found,
            weights=Path(weights) if weights is not None else None,
            input_shapes=shapes,
            allow_code_execution=allow_code_execution,
        )
    with stage("tracing"):
        traced = opened.trace(opset)
    with stage("folding"):
        folded = fold(traced.proto, traced.weights)
        _name_layers(folded.proto, opened)
        preprocessing, notes = _prepared(folded, opened, asked)
        _annotate(folded.proto, opened, preprocessing, labels)

    def write_and_verify(path: Path, temporary: object = None) -> tuple[Model, Verification | None, list[Path]]:
        with stage("writing"):
            written = write_files(folded.proto, folded.bytes_of, path)
            model = load_file(path, label, temporary)
            if labels is not None:
                check_labels(model, labels)
        if not model.layers:
            notes.append(f"{label} has no convolution")
        if not verify:
            return model, None, written
        with stage("verifying"):
            found = compare(opened, model, preprocessing)
            packages = {
                **opened.versions,
                **{name: version(name) for name in ("onnxviz", "onnx")},
                "onnxruntime": VERSION,
            }
            if keep_record(path, model, opened.framework, packages, found):
                model = load_file(path, label, temporary)
            return model, found, written

    files: list[Path] = []
    if path is None:
        scratch = Scratch()
        try:
            model, verification, _ = write_and_verify(scratch.folder / "model.onnx", scratch)
        except BaseException:
            shutil.rmtree(scratch.folder, ignore_errors=True)  # now: the traceback keeps `scratch` alive
            raise
    else:
        with assembling(path) as folder:
            _, verification, written = write_and_verify(folder / path.name)
        files = [Path(str(output)), *(path.with_name(one.name) for one in written[1:])]
        model = load(files[0])
    if verification is not None and verification.unused:
        notes.append(
            f"filters not compared, as no convolution has them (no output needs them, or others are made from them): "
            f"{', '.join(verification.unused)}"
        )
    return Conversion(
        model=model,
        source=label,
        framework=opened.framework,
        versions=opened.versions,
        verification=verification,
        preprocessing=preprocessing,
        notes=[*opened.notes, *notes],  # the source may have found something out as it was compared
        seconds=seconds,
        files=files,
    )


def verified_again(
    model: Model, source: object, weights: str | PathLike[str] | None = None, preprocessing: Preprocessing | None = None
) -> Verification:
    """A converted model compared with its source once more, as `convert` does.

    Args:
        model: the model.
        source: as for `convert`; code that a file brings along does not run.
        weights: as for `convert`.
        preprocessing: how the model's images are prepared; None for normal noise.

    Raises:
        DeviationError: they differ.
        ConversionError: the source cannot be opened, or the two cannot be compared.
        CodeExecution: the source can only be opened by running its code.
    """
    found, label = resolved(source)
    converter = converter_for(found, label)
    path = Path(weights) if weights is not None else None
    shapes = {
        port.name: tuple(size if isinstance(size, int) else None for size in port.shape)
        for port in model.inputs
        if port.shape is not None
    }
    only = {"": next(iter(shapes.values()))} if len(shapes) == 1 else shapes
    try:  # a source without sizes is to be of those that the model has
        opened = converter.open(found, weights=path, input_shapes=only or None, allow_code_execution=False)
    except ConversionError:  # its sizes are others, or it is no source
        opened = converter.open(found, weights=path, allow_code_execution=False)
    opset = model.opset.get("", DEFAULT_OPSET)
    opened.trace(opset if opset in OPSETS else DEFAULT_OPSET)  # it learns there what its weights are called
    return compare(opened, model, preprocessing)


def _prepared(
    folded: Folded, opened: SourceModel, asked: Preprocessing | None
) -> tuple[Preprocessing | None, list[str]]:
    """How images are prepared, and what to tell about it: as asked for, else as the graph's first operators expect it.

    Where they do not tell, as it is known of the source.
    """
    scope = Scope(folded.proto.graph)
    inputs = picture_inputs(scope, (port_of(value, scope, value.name) for value in folded.proto.graph.input))
    opset = {plain_domain(entry.domain): entry.version for entry in folded.proto.opset_import}
    ranges = input_ranges(scope, Constants(_FoldedFile(folded)), lambda: Shapes(folded.proto), opset, inputs)
    expected = common_range(ranges, inputs)
    told = asked or opened.preprocessing
    if expected is None or (told is not None and expected.agrees(told.as_dict())):
        return told, []
    if asked is not None:
        return asked, [f"'{asked.words}' is kept as asked, but the graph expects '{expected.words}': {expected.why}"]
    if expected.order_is_open:
        return None, [f"{expected.why}, so that images may be RGB or BGR: say which with {option('preprocess')}"]
    derived = Preprocessing.expected(expected)
    other = f", not '{told.words}'" if told is not None else ""
    return derived, [
        f"images are prepared as '{derived.words}'{other}: {expected.why} ({option('preprocess')} changes it)"
    ]


class _FoldedFile(TensorFile):
    """The weights of a folded graph, which are in no file yet."""

    def __init__(self, folded: Folded) -> None:
        super().__init__(None)
        self._arrays = folded.arrays

    def read(self, tensor: TensorProto) -> NDArray[Any]:
        """The values of a stored tensor."""
        held = self._arrays.get(tensor.name)
        return held if held is not None else super().read(tensor)


def _name_layers(proto: onnx.ModelProto, opened: SourceModel) -> None:
    """Writes into each convolution the path of the source layer whose weight it has, which is certain.

    Where several layers share a weight, what the converter noted tells which of them it is.
    """
    paths: dict[str, list[str]] = {}
    for layer in opened.layers:
        paths.setdefault(layer.weight, []).append(layer.path)
    for node in proto.graph.node:
        form = convolution_form(node)
        known = paths.get(node.input[form.weight]) if form is not None and form.weight < len(node.input) else None
        if known and source_path(node) not in known:
            kept = [entry for entry in node.metadata_props if entry.key != LAYER_KEY]
            del node.metadata_props[:]
            node.metadata_props.extend(kept)
            node.metadata_props.add(key=LAYER_KEY, value=known[0])


def _annotate(
    proto: onnx.ModelProto, opened: SourceModel, preprocessing: Preprocessing | None, labels: Sequence[str] | None
) -> None:
    """Says in the model who made it from what."""
    proto.producer_name = "onnxviz"
    proto.producer_version = version("onnxviz")
    kept = {entry.key: entry.value for entry in proto.metadata_props}
    kept["onnxviz.source"] = ", ".join([opened.framework, *(f"{name} {v}" for name, v in opened.versions.items())])
    if preprocessing is not None:
        kept[PREPROCESSING_KEY] = preprocessing.to_json()
    if labels is not None:
        kept[NAMES_KEY] = json.dumps(list(labels), ensure_ascii=False)
    del proto.metadata_props[:]
    for key, value in kept.items():
        proto.metadata_props.add(key=key, value=value)
