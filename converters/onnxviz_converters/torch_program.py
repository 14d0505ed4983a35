"""A model as a program of torch.export: captured with as many open sizes as it allows, and its convolutions found."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.export.dynamic_shapes import refine_dynamic_shapes_from_suggested_fixes

from onnxviz.conversion.converter import SourceInput
from onnxviz.errors import ConversionError
from onnxviz_converters.torch_errors import located
from onnxviz_converters.torch_inputs import Fed, tensors

_CONVOLUTION = re.compile(r"^aten\.(_?convolution|conv[123]d|conv_transpose[123]d)\b")


@dataclass(frozen=True)
class Convolution:
    """A convolution in a program whose weight is a tensor of the model.

    Attributes:
        path: the module that computes it.
        weight: the tensor's name in the program.
        bias: the bias's name; None where there is none, or where it is computed.
        transposed: whether it is a transposed convolution.
        groups: number of groups.
        nodes: names of the program's nodes, one for each call.
        last: whether its output is the module's at every call: nothing happens afterwards, and each call is needed.
    """

    path: str
    weight: str
    bias: str | None
    transposed: bool
    groups: int
    nodes: tuple[str, ...]
    last: bool


@dataclass(frozen=True)
class Program:
    """A captured model.

    Attributes:
        exported: the program.
        inputs: what it is fed.
        outputs: names of its outputs.
        sizes: for each input, what each axis is called where it is open.
        aliases: other paths of a module or tensor, and the one it goes by.
        notes: what a user should be told.
    """

    exported: ExportedProgram
    inputs: tuple[SourceInput, ...]
    outputs: tuple[str, ...]
    sizes: tuple[tuple[str | None, ...], ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def name(self, path: str) -> str:
        """The path that a module or tensor goes by."""
        return self.aliases.get(path, path)


def capture(module: nn.Module, fed: Fed) -> Program:
    """`module` as a program, with an open batch where the module allows it.

    Args:
        module: a module at rest.
        fed: what it takes.

    Raises:
        ConversionError: torch.export cannot follow it, or a size that was left open is fixed.
    """
    flattened = module.register_forward_hook(_flat)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # torch prints programs that it gives up
            exported, opened, notes = _export(module, fed)
    finally:
        flattened.remove()
    sizes = tuple(
        tuple(given.axis(axis, index == 0) if axis in opened[given.name] else None for axis in range(len(given.shape)))
        for index, given in enumerate(fed.inputs)
    )
    inputs = tuple(
        SourceInput(
            given.name,
            tuple(None if name else size for name, size in zip(names, given.example.shape, strict=True)),
            str(given.example.dtype).removeprefix("torch."),
        )
        for given, names in zip(fed.inputs, sizes, strict=True)
    )
    return Program(exported, inputs, fed.outputs, sizes, _aliases(module), (*fed.notes, *notes))


def given_program(exported: ExportedProgram) -> Program:
    """A program that was captured elsewhere, as it is.

    Raises:
        ConversionError: it takes something else than tensors, or was exported in training mode.
    """
    signature = exported.graph_signature
    for node in exported.graph.nodes:
        if _trains(node):
            raise ConversionError(
                f"the program was exported in training mode ('{(list(module_paths(node)) or [node.name])[-1]}'): "
                "export the model in evaluation mode (model.eval())"
            )
    placeholders = {node.name: node.meta.get("val") for node in exported.graph.nodes if node.op == "placeholder"}
    inputs, sizes, notes = [], [], []
    for index, name in enumerate(signature.user_inputs):
        value = placeholders.get(str(name))
        if not isinstance(value, torch.Tensor):
            raise ConversionError(f"input {index} of the program is no tensor ({type(value).__name__})")
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        inputs.append(SourceInput(str(name), shape, str(value.dtype).removeprefix("torch.")))
        sizes.append(
            tuple(_axis(str(name), axis, index == 0) if size is None else None for axis, size in enumerate(shape))
        )
    if inputs and inputs[0].shape and inputs[0].shape[0] is not None:
        notes.append(f"the program was exported for a batch of {inputs[0].shape[0]}, which is fixed")
    outputs = [str(name) for name in signature.user_outputs if name is not None]
    names = ("output",) if len(outputs) == 1 else tuple(f"output_{index}" for index in range(len(outputs)))
    return Program(exported, tuple(inputs), names, tuple(sizes), notes=tuple(notes))


def convolutions(program: Program) -> list[Convolution]:
    """Its convolutions, by the module that computes them, in the order of their first call."""
    signature = program.exported.graph_signature
    stored = signature.inputs_to_parameters | signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    nodes = [node for node in program.exported.graph.nodes if node.op == "call_function"]
    needed = _needed(program.exported.graph)
    found: dict[str, list[torch.fx.Node]] = {}
    within: dict[str, list[torch.fx.Node]] = {}
    for node in nodes:
        stack = list(module_paths(node))
        for path in {program.name(path) for path in stack}:
            within.setdefault(path, []).append(node)
        if _CONVOLUTION.match(str(node.target)):
            path = program.name(stack[-1]) if stack else ""
            weight = stored.get(getattr(_argument(node, 1, "weight"), "name", ""), "")
            found.setdefault(path or program.name(weight).rpartition(".")[0], []).append(node)
    result = []
    for path, calls in found.items():
        node = calls[0]
        weights = {stored.get(getattr(_argument(call, 1, "weight"), "name", "")) for call in calls}
        live = [call for call in calls if call in needed]
        if not live:
            continue
        bias = _argument(node, 2, "bias")
        weight = weights.pop()
        if not path or weight is None or weights:  # a weight that is computed, or several in one module
            continue
        transposed = "transpose" in str(node.target) or (
            "convolution" in str(node.target) and bool(_argument(node, 6, "transposed"))
        )
        # convolution(…, transposed, output_padding, groups); the others end with groups (and dilation, if transposed).
        groups = _argument(node, 8 if "convolution" in str(node.target) else 6, "groups") or 1
        result.append(
            Convolution(
                path,
                weight,
                stored.get(getattr(bias, "name", "")),
                transposed,
                int(groups),
                tuple(call.name for call in calls),
                live == calls and _ends_with(within.get(path, calls), calls),
            )
        )
    return result


def module_paths(node: torch.fx.Node) -> Iterator[str]:
    """Paths of the modules whose call a node is part of, outermost first."""
    for entry in node.meta.get("nn_module_stack", {}).values():
        path = str(entry[0])
        if not path.startswith("_empty_nn_module_stack") and not path.startswith("L__self__"):
            yield path.partition("@")[0]


def _needed(graph: torch.fx.Graph) -> set[torch.fx.Node]:
    """The nodes that an output depends on; exporters keep others that the ONNX graph leaves out."""
    waiting = [node for node in graph.nodes if node.op == "output"]
    found = set(waiting)
    while waiting:
        for node in waiting.pop().all_input_nodes:
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found


def _trains(node: torch.fx.Node) -> bool:
    """Whether a node does what is only done in training."""
    target = str(node.target)
    if target.startswith("aten.batch_norm."):  # that of the batch itself is normal where no statistics are kept
        return bool(_argument(node, 5, "training")) and _argument(node, 3, "running_mean") is not None
    if target.startswith(("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout")):
        return bool(_argument(node, 2, "train")) and bool(_argument(node, 1, "p"))
    return target.startswith("aten._native_batch_norm_legit_functional")


def _ends_with(group: list[torch.fx.Node], calls: list[torch.fx.Node]) -> bool:
    """Whether each call of a module, whose nodes are `group`, ends with one of `calls`."""
    if not group or len(group) % len(calls):
        return False
    period = len(group) // len(calls)
    targets = [node.target for node in group]
    return group[period - 1 :: period] == calls and targets == targets[:period] * len(calls)


def _argument(node: torch.fx.Node, index: int, name: str) -> Any:
    return node.args[index] if index < len(node.args) else node.kwargs.get(name)


def _flat(module: nn.Module, arguments: object, output: object) -> tuple[torch.Tensor, ...]:
    """A hook that leaves the tensors of what a model gives: torch's exporter fails at None and numbers."""
    return tuple(tensor for _, tensor in tensors(output))


def _export(module: nn.Module, fed: Fed) -> tuple[ExportedProgram, dict[str, set[int]], list[str]]:
    """The program, the axes of each input that are open in it, and notes."""
    batch = fed.inputs[0].example.shape[0] if fed.inputs and fed.inputs[0].shape else 0
    asked = {given.name: {axis for axis, size in enumerate(given.shape) if size is None} - {0} for given in fed.inputs}
    with_batch = {
        given.name: {*asked[given.name], 0} if given.shape and given.example.shape[0] == batch else asked[given.name]
        for given in fed.inputs
    }
    try:
        return _export_open(module, fed, with_batch), with_batch, []
    except Exception:  # what a dynamic batch breaks shows in a dozen kinds of error
        pass
    try:
        exported = _export_open(module, fed, asked)
    except Exception as error:
        title = type(module).__name__
        raise ConversionError(f"torch.export cannot follow {title}: {located(error)}") from None
    return exported, asked, [f"the model does not allow an open batch; it is fixed at {batch}"]


def _export_open(module: nn.Module, fed: Fed, opened: dict[str, set[int]]) -> ExportedProgram:
    """The program with these axes open; related sizes, as a U-Net has them, are related as torch suggests."""
    symbols: dict[str, Dim] = {}
    shapes: Any = {}
    examples = {}
    for index, given in enumerate(fed.inputs):
        names = {axis: given.axis(axis, index == 0) for axis in sorted(opened[given.name])}
        example = given.example
        for axis, name in names.items():
            # From half the example's size on: at a map of 1x1, and only there, torch follows another path.
            symbols.setdefault(name, Dim(name) if axis == 0 else Dim(name, min=example.shape[axis] // 2))
        shapes[given.name] = {axis: symbols[name] for axis, name in names.items()}
        if 0 in names and example.shape[0] == 1:  # torch takes a size of 1 for a fixed one
            example = torch.cat([example, example])
        examples[given.name] = example
    arguments, named = fed.arguments(examples)
    for _ in range(3):
        try:
            return torch.export.export(module, arguments, named, dynamic_shapes=_by_parameter(module, fed, shapes))
        except torch._dynamo.exc.UserError as error:
            if "Suggested fixes:" not in str(error):
                raise
            refined = _refined(str(error), shapes)
            if refined is None:
                raise
            shapes = refined
    raise ConversionError("its sizes depend on each other in a way that cannot be kept open")


def _refined(message: str, shapes: Any) -> Any:
    """`shapes` as torch suggests, None where that would fix a size."""
    message = message.partition("\n\n")[0] if "Suggested fixes:" in message.partition("\n\n")[0] else message
    head, _, fixes = message.partition("Suggested fixes:")
    lines = [line for line in fixes.splitlines() if " = " in line]
    if any(re.search(r"= \d+\s*$|Dim\('batch', .*min", line) for line in lines):
        return None
    return refine_dynamic_shapes_from_suggested_fixes(f"{head}Suggested fixes:\n" + "\n".join(lines), shapes)


def _by_parameter(module: nn.Module, fed: Fed, shapes: dict[str, Any]) -> Any:
    """Open sizes as torch.export wants them: by parameter, those of `*args` together."""
    try:
        parameters = inspect.signature(module.forward).parameters
    except (TypeError, ValueError):
        return tuple(shapes.values())
    if all(given.name in parameters for given in fed.inputs):
        return shapes
    several = next((one.name for one in parameters.values() if one.kind is one.VAR_POSITIONAL), None)
    return tuple(shapes.values()) if several is None else {several: tuple(shapes.values())}


def _aliases(module: nn.Module) -> dict[str, str]:
    """Later paths of modules and tensors that have several, and their first."""
    first: dict[int, str] = {}
    aliases: dict[str, str] = {}
    everything: Iterator[tuple[str, object]] = iter(
        [
            *module.named_modules(remove_duplicate=False),
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        ]
    )
    for path, thing in everything:
        known = first.setdefault(id(thing), path)
        if known != path:
            aliases[path] = known
    return aliases


def _axis(name: str, axis: int, first: bool) -> str:
    if axis == 0:
        return "batch"
    return f"axis{axis}" if first else f"{name}_axis{axis}"
