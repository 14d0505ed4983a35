"""From a program of torch.export to an ONNX graph with the weights outside, without what the exporter leaves behind."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx_ir.passes import common
from onnxscript import optimizer

from onnxviz.conversion.converter import Traced
from onnxviz.errors import ConversionError
from onnxviz.messages import option, printable
from onnxviz.model.naming import LAYER_KEY
from onnxviz_converters.torch_errors import reason
from onnxviz_converters.torch_program import Program, module_paths
from onnxviz_converters.torch_state import uncollected

# Constants of more elements than this lie outside the graph, as weights do.
_INSIDE = 1024
_WEIGHTS = ("PARAMETER", "BUFFER")
_KIND = "pkg.torch.export.graph_signature.InputSpec.kind"
_SCOPES = "pkg.torch.onnx.name_scopes"


def translate(program: Program, opset: int) -> Traced:
    """The graph of `program`, and the tensors that it reads.

    Raises:
        ConversionError: an operation that cannot be translated, or an operator set that cannot be had.
    """
    model = _exported(program, opset)
    got = model.opset_imports.get("", opset)
    if got != opset:
        raise ConversionError(f"PyTorch's exporter gives operator set {got}, not {opset} ({option('opset')})")
    if model.functions:
        common.InlinePass()(model)
    weights = _take_weights(model, program)
    _name_layers(model, program, weights)
    # Twice: what is computed from shapes folds once these are known, and they are known once some of it is folded.
    for _ in range(2):
        optimizer.fold_constants(model)
        common.ShapeInferencePass(check_type=False, strict_mode=False)(model)
    _check_types(model)
    for node in _nodes(model):
        for rewrite in _REWRITES:
            rewrite(node, weights)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.IdentityEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedOpsetsPass()(model)
    _own_outputs(model)
    _name_ports(model, program, weights)
    _name_sizes(model, program)
    _forget(model)
    constants = _move_constants(model)
    for name in weights:
        model.graph.initializers.pop(name, None)
    read = {value.name for node in _nodes(model) for value in node.inputs if value is not None}
    proto: onnx.ModelProto = ir.serde.serialize_model(model)
    proto.ir_version = max(proto.ir_version, onnx.helper.find_min_ir_version_for(proto.opset_import))
    return Traced(proto, {name: as_array(tensor) for name, tensor in (weights | constants).items() if name in read})


def as_array(tensor: Any) -> NDArray[Any]:
    """A tensor's values, not copied where they lie in the CPU's memory."""
    if not isinstance(tensor, torch.Tensor):
        return np.asarray(tensor)
    tensor = tensor.detach()
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    if tensor.dtype is torch.bfloat16:  # which numpy knows through ml_dtypes only
        kind = onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16)
        array: NDArray[Any] = tensor.cpu().contiguous().view(torch.uint16).numpy().view(kind)
        return array
    array = tensor.cpu().numpy()
    return array


def _exported(program: Program, opset: int) -> ir.Model:
    try:
        with uncollected():
            result = torch.onnx.export(
                program.exported, (), dynamo=True, optimize=False, verbose=False, opset_version=opset
            )
    except Exception as error:  # the exporter's errors have no common, public class
        raise ConversionError(_untranslated(program, error)) from None
    if result is None:
        raise ConversionError("PyTorch's exporter gave no model")
    return result.model


def _untranslated(program: Program, error: BaseException) -> str:
    """What cannot be translated, and where in the model it is."""
    text, current = "", error
    while current is not None:
        text += f"\n{current}"
        current = current.__cause__ or current.__context__  # type: ignore[assignment]
    operator = re.search(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'", text)
    if operator:
        name = operator[1]
        where = ""
        for node in program.exported.graph.nodes:
            # The program's operators are decomposed before: linalg_svd into _linalg_svd.
            same = str(node.target).split(".")[1:2] == [name.split(".")[-1].lstrip("_")]
            if (same or str(node.target).startswith(name)) and any(module_paths(node)):
                where = list(module_paths(node))[-1]
                break
        return f"{_in(where)}{printable(name)} has no translation to ONNX"
    translating = re.search(r"Error when translating node (%?\w+)", text)
    causes = re.findall(r"<class '[\w.]*?(\w+)'>: (.+)", text)
    said = f"{causes[0][0]}: {causes[0][1]}" if causes else reason(error)
    node_name = translating[1].lstrip("%") if translating else ""
    for node in program.exported.graph.nodes:
        if node.name == node_name:
            paths = list(module_paths(node))
            return (
                f"{_in(paths[-1] if paths else '')}{node.target} cannot be translated to ONNX: {printable(said, 200)}"
            )
    return f"PyTorch's exporter fails: {printable(said, 200)}"


def _in(path: str) -> str:
    return f"'{printable(path)}': " if path else ""


def _nodes(model: ir.Model) -> Iterable[ir.Node]:
    return list(ir.traversal.RecursiveGraphIterator(model.graph))


def _take_weights(model: ir.Model, program: Program) -> dict[str, torch.Tensor]:
    """Takes parameters and buffers out of the graph, which keeps their names; one that has several keeps the first."""
    weights: dict[str, torch.Tensor] = {}
    known: dict[tuple[Any, ...], ir.Value] = {}
    values = sorted(model.graph.initializers.values(), key=lambda value: program.name(str(value.name)) != value.name)
    for value in values:
        if value.metadata_props.get(_KIND) not in _WEIGHTS or not isinstance(value.const_value, ir.Tensor):
            continue
        tensor: Any = value.const_value.raw
        value.const_value = None
        same = known.setdefault(_identity(tensor), value)
        del model.graph.initializers[str(value.name)]
        if same is not value:
            ir.convenience.replace_all_uses_with(value, same)
            continue
        value.name = program.name(str(value.name))
        model.graph.initializers.add(value)  # without values, so that nothing that they enter is folded
        weights[value.name] = tensor
    return weights


def _identity(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Equal for tensors that are the same memory seen the same way."""
    if tensor.numel() == 0:
        return (id(tensor),)
    return (tensor.device, tensor.dtype, tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))


def _name_layers(model: ir.Model, program: Program, weights: dict[str, torch.Tensor]) -> None:
    """Notes in each node which module it comes from."""
    for node in _nodes(model):
        try:
            scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        except (ValueError, SyntaxError):
            scopes = []
        path = str(scopes[-2]) if len(scopes) > 1 else ""
        path = "" if path.startswith(("_empty_nn_module_stack", "L__self__")) else path.partition("@")[0]
        if not path:  # TorchScript has no modules left, but its weights have paths
            read = (str(value.name) for value in node.inputs if value is not None and value.name in weights)
            path = next(read, "").rpartition(".")[0]
        path = program.name(path)
        node.metadata_props.clear()
        node.doc_string = None
        if path:
            node.metadata_props[LAYER_KEY] = path


def _constant(value: ir.Value | None) -> NDArray[Any] | None:
    if value is None or value.const_value is None:
        return None
    return np.asarray(value.const_value.numpy())


def _shape(value: ir.Value | None) -> list[int | str | None] | None:
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def _new_constant(node: ir.Node, values: NDArray[Any], name: str) -> ir.Value:
    assert node.graph is not None
    constant = ir.node("Constant", [], attributes={"value": ir.tensor(values)})
    constant.outputs[0].name = f"{node.outputs[0].name}_{name}"
    constant.outputs[0].const_value = ir.tensor(values, name=constant.outputs[0].name)
    constant.outputs[0].dtype = ir.DataType(constant.outputs[0].const_value.dtype)
    constant.outputs[0].shape = ir.Shape(values.shape)
    node.graph.insert_before(node, constant)
    return constant.outputs[0]


def _no_zero_bias(node: ir.Node, weights: dict[str, torch.Tensor]) -> None:
    """A convolution without a bias gets one of zeros from the exporter (of a wrong shape in 3-D)."""
    if node.op_type not in ("Conv", "ConvTranspose") or len(node.inputs) < 3:
        return
    bias = _constant(node.inputs[2])
    made = node.inputs[2] is not None and node.inputs[2].metadata_props.get(_KIND) is None
    if made and bias is not None and not bias.any():
        node.resize_inputs(2)


def _plain_reshape(node: ir.Node, weights: dict[str, torch.Tensor]) -> None:
    """A shape that is computed although all but the batch is known becomes a constant with 0 and -1."""
    if node.op_type != "Reshape" or _constant(node.inputs[1]) is not None:
        return
    before, after = _shape(node.inputs[0]), _shape(node.outputs[0])
    if before is None or after is None or 0 in after:
        return
    wanted = []
    for axis, dim in enumerate(after):
        if isinstance(dim, int):
            wanted.append(dim)
        elif dim is not None and axis < len(before) and before[axis] == dim:
            wanted.append(0)  # copied from the input
        else:
            wanted.append(-1)
    if wanted.count(-1) <= 1:
        node.replace_input_with(1, _new_constant(node, np.asarray(wanted, np.int64), "shape"))
        node.attributes["allowzero"] = ir.AttrInt64("allowzero", 0)


def _plain_expand(node: ir.Node, weights: dict[str, torch.Tensor]) -> None:
    """A shape that is computed although only axes of size 1 grow becomes a constant, or the node goes."""
    if node.op_type != "Expand" or _constant(node.inputs[1]) is not None:
        return
    before, after = _shape(node.inputs[0]), _shape(node.outputs[0])
    if before is None or after is None:
        return
    padded = [1] * (len(after) - len(before)) + before
    wanted = [1 if old == new and new is not None else new for old, new in zip(padded, after, strict=True)]
    if all(isinstance(dim, int) for dim in wanted):
        node.replace_input_with(1, _new_constant(node, np.asarray(wanted, np.int64), "shape"))


def _plain_resize(node: ir.Node, weights: dict[str, torch.Tensor]) -> None:
    """Sizes that are computed only because the batch is open become scales, where these give the same sizes."""
    if node.op_type != "Resize" or len(node.inputs) < 4 or _constant(node.inputs[3]) is not None:
        return
    before, after = _shape(node.inputs[0]), _shape(node.outputs[0])
    if before is None or after is None or node.inputs[3] is None or "axes" in node.attributes:
        return
    scales = []
    for old, new in zip(before, after, strict=True):
        if old == new and old is not None:
            scales.append(np.float32(1))
        elif isinstance(old, int) and isinstance(new, int):
            scale = np.float32(new) / np.float32(old)
            if int(scale * np.float32(old)) != new or int(float(scale) * old) != new:
                return
            scales.append(scale)
        else:
            return
    node.replace_input_with(2, _new_constant(node, np.asarray(scales, np.float32), "scales"))
    node.resize_inputs(3)


def _global_pool(node: ir.Node, weights: dict[str, torch.Tensor]) -> None:
    """A mean over all spatial axes that stay is what ONNX calls GlobalAveragePool."""
    if node.op_type != "ReduceMean" or len(node.inputs) < 2:
        return
    axes, shape = _constant(node.inputs[1]), _shape(node.inputs[0])
    if axes is None or shape is None or len(shape) < 3 or "keepdims" not in node.attributes:
        return
    if sorted(int(a) % len(shape) for a in axes) == list(range(2, len(shape))) and node.attributes["keepdims"].as_int():
        node.op_type = "GlobalAveragePool"
        node.attributes.clear()
        node.resize_inputs(1)


_REWRITES: tuple[Callable[[ir.Node, dict[str, torch.Tensor]], None], ...] = (
    _no_zero_bias,
    _plain_reshape,
    _plain_expand,
    _plain_resize,
    _global_pool,
)


def _check_types(model: ir.Model) -> None:
    """Refuses convolutions in a type that cannot be run; automatic mixed precision makes some."""
    for node in _nodes(model):
        kind = node.outputs[0].dtype
        if node.op_type in ("Conv", "ConvTranspose") and kind in (ir.DataType.BFLOAT16, ir.DataType.DOUBLE):
            raise ConversionError(
                f"{_in(node.metadata_props.get(LAYER_KEY, ''))}the convolution computes in {kind.name.lower()}, for "
                "which onnxruntime has none: convert the model in float32, without autocast"
            )


def _own_outputs(model: ir.Model) -> None:
    """Gives each output a value of its own, where it is an input, a weight or another output too."""
    graph = model.graph
    seen: set[ir.Value] = set()
    for index, value in enumerate(graph.outputs):
        if value in seen or value.is_graph_input() or value.is_initializer():
            copied = ir.node("Identity", [value])
            copied.outputs[0].name = f"{value.name}_copy{index}"
            copied.outputs[0].type, copied.outputs[0].shape = value.type, value.shape
            graph.append(copied)
            graph.outputs[index] = copied.outputs[0]
        seen.add(graph.outputs[index])


def _name_ports(model: ir.Model, program: Program, weights: dict[str, torch.Tensor]) -> None:
    """Gives inputs and outputs their names; what is in between makes way."""
    graph = model.graph
    ports = [*zip(graph.inputs, (given.name for given in program.inputs), strict=True)]
    if len(graph.outputs) != len(program.outputs):
        raise ConversionError(
            f"the model gives {len(program.outputs)} tensors, its exported program {len(graph.outputs)}: "
            "one of them may be empty or constant"
        )
    wanted: dict[str, ir.Value] = {}
    for value, name in (*ports, *zip(graph.outputs, program.outputs, strict=True)):
        while name in wanted or name in weights:
            name += "_output" if value in graph.outputs else "_input"
        wanted[name] = value
    taken = {*wanted, *weights}
    between = [value for node in _nodes(model) for value in node.outputs]
    between += [value for name, value in graph.initializers.items() if name not in weights]
    taken |= {str(value.name) for value in between}
    for value in between:
        if value.name in wanted and wanted[value.name] is not value:
            number = 1
            while f"{value.name}_{number}" in taken:
                number += 1
            taken.add(f"{value.name}_{number}")
            value.name = f"{value.name}_{number}"
    for name, value in wanted.items():
        value.name = name


def _name_sizes(model: ir.Model, program: Program) -> None:
    """Open sizes get names that mean something; sizes that follow from them stay open without one."""
    names: dict[str, str] = {}
    for value, axes in zip(model.graph.inputs, program.sizes, strict=True):
        for dim, name in zip(_shape(value) or (), axes, strict=False):
            if isinstance(dim, str) and name:
                names.setdefault(dim, name)
    values = [*model.graph.inputs, *(value for node in _nodes(model) for value in node.outputs)]
    for value in values:
        shape = _shape(value)
        if shape is not None:
            value.shape = ir.Shape([names.get(dim) if isinstance(dim, str) else dim for dim in shape])


def _forget(model: ir.Model) -> None:
    """Leaves out what the exporter noted besides: the program's text, paths of source files."""
    model.metadata_props.clear()
    model.doc_string = None
    graphs = {node.graph for node in _nodes(model)} | {model.graph}
    for graph in graphs:
        if isinstance(graph, ir.Graph):
            graph.metadata_props.clear()
            graph.doc_string = None
            for value in (*graph.inputs, *graph.initializers.values()):
                value.metadata_props.clear()
                value.doc_string = None
    for node in _nodes(model):
        for value in node.outputs:
            value.metadata_props.clear()
            value.doc_string = None


def _move_constants(model: ir.Model) -> dict[str, Any]:
    """Takes large constants out of the graph."""
    moved: dict[str, Any] = {}
    for name, value in list(model.graph.initializers.items()):
        if value.const_value is not None and value.const_value.size > _INSIDE:
            moved[name] = getattr(value.const_value, "raw", None)
            if not isinstance(moved[name], torch.Tensor):
                moved[name] = value.const_value.numpy()
            del model.graph.initializers[name]
    return moved
