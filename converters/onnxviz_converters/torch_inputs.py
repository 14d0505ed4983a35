"""What a module is fed: names from its `forward`, shapes as given or found by trying."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from onnxviz.conversion.converter import InputShape
from onnxviz.errors import ConversionError
from onnxviz.messages import dims, option, printable
from onnxviz_converters.torch_errors import located

_CONVOLUTIONS: dict[type[nn.Module], int] = {
    nn.Conv1d: 1,
    nn.Conv2d: 2,
    nn.Conv3d: 3,
    nn.ConvTranspose1d: 1,
    nn.ConvTranspose2d: 2,
    nn.ConvTranspose3d: 3,
}
# Sizes that are tried where none is given, by number of spatial axes; the first that the model takes is assumed.
_SIZES: dict[int, tuple[int, ...]] = {
    0: (0,),
    1: (1024, 16000, 4096, 256, 128, 512, 2048, 8000, 187, 64, 32),
    2: (224, 32, 64, 128, 299, 28, 256, 96, 192, 320, 384, 512, 480, 331, 48, 16, 8, 4, 1),
    3: (64, 32, 16, 112, 128, 96, 28, 8),
}
# What many packages call the size that a model was made for.
_SIZE_ATTRIBUTES = ("in_size", "img_size", "image_size", "input_size")
_AXES: dict[int, tuple[str, ...]] = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclass(frozen=True)
class Given:
    """One input of a module.

    Attributes:
        name: the parameter of `forward`.
        shape: sizes; None is open.
        example: a tensor of that shape that the module has taken.
        positional: whether it is passed by position.
    """

    name: str
    shape: InputShape
    example: torch.Tensor
    positional: bool = True

    def axis(self, index: int, first: bool) -> str:
        """What the open size of an axis is called; `first`: whether this is the model's first input."""
        if index == 0:
            return "batch"
        spatial = len(self.shape) - 2
        name = _AXES[spatial][index - 2] if spatial in _AXES and index >= 2 else f"axis{index}"
        return name if first else f"{self.name}_{name}"


@dataclass(frozen=True)
class Fed:
    """What a module takes and gives.

    Attributes:
        inputs: its inputs, in the order of its parameters.
        outputs: names of the tensors that it gives.
        notes: what was assumed.
    """

    inputs: tuple[Given, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def arguments(self, examples: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments, from values by name."""
        positional = tuple(examples[given.name] for given in self.inputs if given.positional)
        return positional, {given.name: examples[given.name] for given in self.inputs if not given.positional}


def feed(module: nn.Module, shapes: Mapping[str, InputShape] | None, names: tuple[str, ...] | None = None) -> Fed:
    """What `module` takes: it has been run on that.

    Args:
        module: a module at rest.
        shapes: shapes by input name; the key "" means the only input.
        names: names of its inputs, where its signature does not tell.

    Raises:
        ConversionError: it refuses the shape, needs one to be given, or gives no tensor.
    """
    parameters, needed = _parameters(module, names)
    title = type(module).__name__
    if element(module) in (torch.bfloat16, torch.float64):
        kind = str(element(module)).removeprefix("torch.")
        raise ConversionError(
            f"{title} computes in {kind}, in which onnxruntime has no convolution: convert model.float()"
        )
    if shapes:
        inputs = _as_given(module, title, shapes, parameters, needed)
        return Fed(inputs, _outputs(title, _run(module, title, inputs)))
    if len(needed) > 1:
        raise ConversionError(
            f"{title} takes {len(needed)} inputs ({', '.join(needed)}): give the shape of each "
            f"({option('input_shape', 'NAME=…')})"
        )
    if not needed and not parameters:
        raise ConversionError(f"the forward of {title} names no input, so that none can be given")
    name = (needed or list(parameters))[0]
    failure: ConversionError | None = None
    for shape in _candidates(module):
        inputs = (_given(module, name, shape, parameters),)
        try:
            outputs = _outputs(title, _run(module, title, inputs))
        except ConversionError as error:
            failure = failure or error
            continue
        note = f"the input shape was not given; {dims(shape)} was assumed ({option('input_shape')})"
        return Fed(inputs, outputs, (note,))
    raise ConversionError(f"the input shape was not given ({option('input_shape')}), and no usual one fits: {failure}")


def tensors(value: object, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in what a model gives, each with a name: keys, fields, else positions; others are left out."""
    if isinstance(value, torch.Tensor):
        yield name or "output", value
        return
    entries: Iterator[tuple[object, object]] | None = None
    if isinstance(value, Mapping):
        entries = iter(value.items())
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        entries = zip(value._fields, value, strict=True)
    elif isinstance(value, tuple | list):
        entries = iter(enumerate(value))
        name = name or "output"
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        entries = ((entry.name, getattr(value, entry.name)) for entry in dataclasses.fields(value))
    for key, entry in entries or ():
        yield from tensors(entry, f"{name}_{key}" if name else str(key))


def device(module: nn.Module) -> torch.device:
    """Where the module computes."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def element(module: nn.Module) -> torch.dtype:
    """The element type that the module computes with."""
    for parameter in module.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return torch.float32


def _parameters(module: nn.Module, names: tuple[str, ...] | None) -> tuple[dict[str, bool], list[str]]:
    """Parameters of `forward`, each with whether it goes by position, and those that must be given."""
    if names is not None:
        return dict.fromkeys(names, True), list(names)
    found: dict[str, bool] = {}
    needed = []
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):
        return {"input": True}, ["input"]
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            if not found:
                found["input"] = True
                needed.append("input")
            continue
        found[parameter.name] = parameter.kind is not parameter.KEYWORD_ONLY
        if parameter.default is parameter.empty:
            needed.append(parameter.name)
    return found, needed


def _as_given(
    module: nn.Module, title: str, shapes: Mapping[str, InputShape], parameters: dict[str, bool], needed: list[str]
) -> tuple[Given, ...]:
    takes = f"its forward takes {', '.join(parameters) or 'nothing'}"
    if not parameters:
        raise ConversionError(f"the forward of {title} names no input, so that none can be given")
    if "" in shapes:
        if len(shapes) > 1 or len(needed) > 1:
            raise ConversionError(f"the shape of one input is given, but {title} has several: {takes}; name each")
        shapes = {(needed or list(parameters))[0]: shapes[""]}
    for name in shapes:
        if name not in parameters:
            raise ConversionError(f"{title} has no input '{printable(name)}': {takes}")
    for name in needed:
        if name not in shapes:
            raise ConversionError(f"the shape of input '{name}' of {title} is missing: {takes}")
    ordered = {name: parameters[name] for name in parameters if name in shapes}
    opened = [name for name, shape in shapes.items() if None in shape[1:]]
    if not opened:
        return tuple(_given(module, name, shapes[name], ordered) for name in ordered)
    failure: ConversionError | None = None
    for size in _SIZES[min(max(len(shapes[name]) - 2 for name in opened), 3)]:
        inputs = tuple(_given(module, name, shapes[name], ordered, size) for name in ordered)
        try:
            _run(module, title, inputs)
        except ConversionError as error:
            failure = failure or error
            continue
        return inputs
    raise failure or ConversionError(f"the open sizes of {title} cannot be filled in: give them")


def _given(module: nn.Module, name: str, shape: InputShape, parameters: dict[str, bool], size: int = 1) -> Given:
    """An input with an example; `size` fills in what is open."""
    if any(dim is not None and dim < 1 for dim in shape):
        raise ConversionError(f"the shape {dims(shape)} of input '{printable(name)}' has a size below 1")
    sizes = [dim or (1 if axis == 0 else size) for axis, dim in enumerate(shape)]
    dice = torch.Generator().manual_seed(0)
    example = torch.rand(sizes, generator=dice).to(device(module), element(module))
    before = list(parameters)[: list(parameters).index(name)]
    positional = parameters[name] and all(parameters[other] for other in before)
    return Given(name, tuple(shape), example, positional)


def _run(module: nn.Module, title: str, inputs: tuple[Given, ...]) -> object:
    arguments, named = Fed(inputs, ()).arguments({given.name: given.example for given in inputs})
    try:
        return module(*arguments, **named)
    except Exception as error:  # a stranger's code raises anything
        shown = ", ".join(dims(tuple(given.example.shape)) for given in inputs)
        raise ConversionError(f"{title} refuses an input of shape {shown}: {located(error)}") from None


def _outputs(title: str, result: object) -> tuple[str, ...]:
    found = list(tensors(result))
    if not found:
        raise ConversionError(f"{title} gives {type(result).__name__}, no tensor: there is nothing to convert")
    for name, tensor in found:
        if tensor.is_complex() or tensor.is_sparse or tensor.is_quantized:
            raise ConversionError(
                f"output '{printable(name)}' of {title} is {'complex' if tensor.is_complex() else 'not dense'}, "
                "which ONNX has no type for"
            )
    return tuple(name for name, _ in found)


def _candidates(module: nn.Module) -> Iterator[InputShape]:
    """Shapes that a module like this usually takes, the likeliest first."""
    stated = getattr(module, "pretrained_cfg", None)  # timm
    size = stated.get("input_size") if isinstance(stated, Mapping) else None
    if isinstance(size, tuple | list) and all(isinstance(dim, int) for dim in size):
        yield (1, *size)
    for part in module.modules():
        spatial = next((n for kind, n in _CONVOLUTIONS.items() if isinstance(part, kind)), None)
        if spatial is not None:
            channels = int(part.in_channels)  # type: ignore[arg-type]
            for own in (getattr(module, name, None) for name in _SIZE_ATTRIBUTES):
                own = (own,) * spatial if isinstance(own, int) else own
                if isinstance(own, tuple | list) and len(own) == spatial and all(isinstance(n, int) for n in own):
                    yield (1, channels, *own)
            for other in dict.fromkeys((channels, 3, 1)):
                for length in _SIZES[spatial][: None if other == channels else 1]:
                    yield (1, other, *(length,) * spatial)
            return
        if isinstance(part, nn.Linear):
            yield (1, part.in_features)
            return
    yield from ((1, 3, 224, 224), (1, 1, 28, 28), (1, 1024))
