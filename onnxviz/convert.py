"""Models of other frameworks made into `.onnx` files: found, traced, folded, written, and compared with their source.

Which converters there are is not known here: each is registered under the entry-point group `onnxviz.converters`
(see `onnxviz.source.Converter`).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import operator
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from os import PathLike
from pathlib import Path
from typing import Any

import onnx

from onnxviz.errors import ConversionError
from onnxviz.files import assembling, destination
from onnxviz.fold import fold
from onnxviz.images import Preprocessing
from onnxviz.model import PREPROCESSING_KEY, Model, Scratch, load, load_scratch
from onnxviz.names import LAYER_KEY, source_path
from onnxviz.operators import convolution_form
from onnxviz.source import Converter, InputShape, SourceModel
from onnxviz.text import printable
from onnxviz.verify import Verification
from onnxviz.verify import verify as compare
from onnxviz.writing import write_files

GROUP = "onnxviz.converters"
DEFAULT_OPSET = 18
# Earlier ones lack what converters write; of the later ones, each converter knows as many as its exporter does.
OPSETS = range(13, 24)

# `package.module:name`, or a call of it with literal arguments: `keras.applications:VGG16(weights=None)`.
_FACTORY = re.compile(
    r"(?P<module>[A-Za-z_]\w*(?:\.\w+)*):(?P<name>[A-Za-z_]\w*(?:\.\w+)*)(?P<call>\(.*\))?", re.DOTALL
)
_ONNX = (".onnx", ".ort")

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


def convert(
    source: object,
    *,
    output: str | PathLike[str] | None = None,
    input_shape: str | tuple[int | None, ...] | Mapping[str, tuple[int | None, ...]] | None = None,
    weights: str | PathLike[str] | None = None,
    preprocess: str | Preprocessing | None = None,
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
        preprocess: how images are prepared, to be kept in the model; see `Preprocessing.parse`. None: filled in where
            the model is a known one.
        opset: version of ONNX' operators.
        verify: whether the conversion is compared with its source: every filter and bias bit for bit, every
            convolution's feature map and every output to 1e-4 of its largest value, at two batch sizes.
        allow_code_execution: whether code that a file brings along (Lambda layers, pickles, TorchScript) may run.

    Returns:
        The ONNX model.

    Raises:
        ConversionError: the source cannot be converted, or the conversion differs from it; nothing is written then.
        CodeExecution: the file can only be opened by running its code.
    """
    return conversion(
        source,
        output=output,
        input_shape=input_shape,
        weights=weights,
        preprocess=preprocess,
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
    opset: int = DEFAULT_OPSET,
    verify: bool = True,
    allow_code_execution: bool = False,
    on_stage: Stage = lambda stage: None,
) -> Conversion:
    """As `convert`, with what was found on the way; `on_stage` is called with each stage's name as it begins."""
    if opset not in OPSETS:
        raise ConversionError(f"opset {opset} is not supported; there are {OPSETS[0]} to {OPSETS[-1]}")
    shapes = _input_shapes(input_shape)
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
        found, label = _resolved(source)
        converter = _converter(found, label)
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
        notes: list[str] = []
        preprocessing = asked or opened.preprocessing
        _annotate(folded.proto, opened, preprocessing)

    def write_and_verify(path: Path, temporary: object = None) -> tuple[Model, Verification | None, list[Path]]:
        with stage("writing"):
            written = write_files(folded.proto, folded.bytes_of, path)
            model = load_scratch(path, label, temporary)
        if not model.layers:
            notes.append(f"{label} has no convolution")
        if not verify:
            return model, None, written
        with stage("verifying"):
            return model, compare(opened, model, preprocessing), written

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


def _annotate(proto: onnx.ModelProto, opened: SourceModel, preprocessing: Preprocessing | None) -> None:
    """Says in the model who made it from what."""
    from onnxviz import __version__

    proto.producer_name = "onnxviz"
    proto.producer_version = __version__
    kept = {entry.key: entry.value for entry in proto.metadata_props}
    kept["onnxviz.source"] = ", ".join([opened.framework, *(f"{name} {v}" for name, v in opened.versions.items())])
    if preprocessing is not None:
        kept[PREPROCESSING_KEY] = preprocessing.to_json()
    del proto.metadata_props[:]
    for key, value in kept.items():
        proto.metadata_props.add(key=key, value=value)


def converters() -> list[Converter]:
    """The converters that are installed and can be loaded."""
    return [found for _, found in _loaded() if isinstance(found, Converter)]


def _loaded() -> Iterator[tuple[str, object]]:
    """Each registered converter by name, or the error that kept it from being loaded: one must not hide the others."""
    for entry in entry_points(group=GROUP):
        try:
            yield entry.name, entry.load()
        except Exception as error:
            yield entry.name, error


def _converter(source: object, label: str) -> Converter:
    """The converter for `source`."""
    for one in converters():
        if one.recognises(source):
            missing = [name for name in one.packages if importlib.util.find_spec(name) is None]
            if missing:
                raise ConversionError(
                    f"converting from {one.framework} needs {', '.join(missing)}: pip install '{one.install}'"
                )
            return one
    known = ", ".join(one.framework for one in converters()) or "none is installed"
    broken = "".join(
        f"; the converter '{name}' is broken: "
        f"{_in_one_line(found) if isinstance(found, Exception) else 'it lacks what a converter has'}"
        for name, found in _loaded()
        if not isinstance(found, Converter)
    )
    if isinstance(source, Path):
        raise ConversionError(
            f"{source} is not a kind of file that a converter knows ({known}): give a .keras or .h5 file, a SavedModel "
            f"folder, a .pt2 or TorchScript file, or module:factory{broken}"
        )
    raise ConversionError(
        f"{label} is of type {type(source).__name__}, which no converter knows; "
        f"there are converters for {known}{broken}"
    )


def _resolved(source: object) -> tuple[object, str]:
    """The model object or path behind `source`, and what messages call it."""
    if isinstance(source, str | PathLike):
        text = str(source)
        path = Path(source)
        match = _FACTORY.fullmatch(text) if isinstance(source, str) and not path.exists() else None
        if match is not None:
            return _made(match["module"], match["name"], match["call"]), text
        if not path.exists():
            raise ConversionError(
                f"there is no file {printable(text)}; code that makes a model is named module:factory"
            )
        if path.suffix.lower() in _ONNX:
            raise ConversionError(f"{path} is an ONNX model already: onnxviz layers, filters and maps read it as it is")
        return path, text
    return source, str(getattr(source, "name", None) or type(source).__name__)


def _made(module: str, name: str, call: str | None) -> object:
    """What `module:name` gives: the object itself if it is a model, else what calling it returns."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # a module beside the user, as `python -m` finds it
    try:
        target: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            for one in converters():
                if missing in one.packages:
                    raise ConversionError(
                        f"converting from {one.framework} needs {missing}: pip install '{one.install}'"
                    ) from None
            raise ConversionError(f"there is no module '{module}', here ({here}) or installed") from None
        raise ConversionError(f"{module} needs '{missing}', which is not installed") from error
    except (Exception, SystemExit) as error:  # a script without a guard runs, and may end with an exit
        raise ConversionError(f"importing {module} failed: {_in_one_line(error)}") from error
    for part in name.split("."):
        if not hasattr(target, part):
            named = {key: value for key, value in vars(target).items() if not key.startswith("_") and callable(value)}
            own = [key for key, value in named.items() if getattr(value, "__module__", None) == module]
            there = own or list(named)
            raise ConversionError(
                f"{module} has no '{name}'; it has {', '.join(there[:8])}{' …' if len(there) > 8 else ''}"
            )
        target = getattr(target, part)
    arguments, keywords = _literals(call)
    if call is None and any(one.recognises(target) for one in converters()):
        return target
    if not callable(target):
        raise ConversionError(f"{module}:{name} is a {type(target).__name__}, neither a model nor a callable")
    try:
        made: object = target(*arguments, **keywords)
    except (Exception, SystemExit) as error:
        raise ConversionError(f"{module}:{name} failed: {_in_one_line(error)}") from error
    return made


def _literals(call: str | None) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call that is written with literals; nothing is evaluated."""
    if call is None:
        return [], {}
    try:
        tree = ast.parse(f"f{call}", mode="eval").body
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
            raise ValueError  # f()(), f().x()
        if any(keyword.arg is None for keyword in tree.keywords):
            raise ValueError  # f(**x)
        return (
            [ast.literal_eval(one) for one in tree.args],
            {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in tree.keywords},
        )
    except (SyntaxError, ValueError):
        raise ConversionError(
            f"the arguments {printable(call)} are not literals; write numbers, text, tuples, True, None: (weights=None)"
        ) from None


def _in_one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= 400 else text[:399] + "…"


def _input_shapes(
    given: str | tuple[int | None, ...] | Mapping[str, tuple[int | None, ...]] | None,
) -> dict[str, InputShape] | None:
    """Shapes by input name; "" is the only input."""
    if given is None:
        return None
    if isinstance(given, str):
        parts = [part.strip() for part in given.split(",")]
        named = [part.rpartition("=") for part in parts]
        if len({name for name, _, _ in named}) < len(parts):
            raise ConversionError(f"'{given}' names an input twice, or gives two shapes without names")
        return {name: _shape(text) for name, _, text in named}
    if isinstance(given, Mapping):
        return {name: _sizes(shape) for name, shape in given.items()}
    return {"": _sizes(given)}


def _sizes(shape: Sequence[int | None]) -> InputShape:
    try:
        sizes = tuple(None if size is None else operator.index(size) for size in shape)
        if all(size is None or size > 0 for size in sizes):
            return sizes
    except TypeError:
        pass
    raise ConversionError(f"{shape!r} is not a shape; give sizes with the batch first, (1, 3, 224, 224), None for open")


def _shape(text: str) -> InputShape:
    sizes = re.split(r"[xX×]", text)
    if not all(re.fullmatch(r"[1-9]\d{0,5}|\?", size) for size in sizes):
        raise ConversionError(
            f"'{text}' is not a shape; write sizes with the batch first, 1x3x224x224 (? for an open one)"
        )
    return tuple(None if size == "?" else int(size) for size in sizes)
