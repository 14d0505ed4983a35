"""`add_gradient` and `grad_support`: a gradient as ordinary ONNX nodes, and whether there can be one.

`add_gradient` gives a model whose extra outputs are the gradients; `grad_support` says beforehand whether it can.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import TensorProto, helper

from onnxviz.arguments import typed
from onnxviz.errors import SelectionError
from onnxviz.gradients.engine import Accumulated, accumulate, trace
from onnxviz.gradients.gradient import Gradient, Passed
from onnxviz.gradients.step import Mode
from onnxviz.gradients.support import Support, check_tensors, id_of, judge
from onnxviz.messages import one_of
from onnxviz.model.model import Model, Source, load
from onnxviz.passes.expose import pruned
from onnxviz.passes.prepare import FLOATS, InputShapes, Prepared, prepare

_MODES = ("plain", "guided", "deconv")


@typed
def add_gradient(
    model: Source,
    of: str | None = None,
    wrt: str | Sequence[str] | None = None,
    *,
    shapes: InputShapes | None = None,
    mode: Mode = "plain",
) -> Gradient:
    """A model that gives the gradient of ⟨seed, `of`⟩ beside the value of `of`.

    The seed, a new input in the shape of `of`, weighs its elements: a class is one 1 in the logits, a filter's mean
    is 1 / (height·width) all over its channel.

    Args:
        model: an opened model, or what `load` opens. It is not changed.
        of: the tensor to differentiate; the first output by default.
        wrt: one or several tensors, inputs or inside the model; all float inputs that matter by default.
        shapes: sizes of inputs, by input name, in place of what the model says; a name or None leaves one open, as
            far as the rules allow: the batch may nearly always stay open, heights and widths often not.
        mode: how gradients pass Relu: "plain", "guided" (only what is positive, Springenberg et al. 2015) or "deconv"
            (only what is positive, whatever the activation, Zeiler & Fergus 2014).

    Raises:
        UnsupportedGradientError: nodes between `wrt` and `of` have no gradient; all of them are listed.
        SelectionError: the model has no such tensor.
        InputError: the sizes do not fit the model, or there is no such mode.
    """
    one_of("mode", mode, _MODES)
    opened = load(model)
    prepared = prepare(opened, shapes)
    target, sources = _ends(opened, prepared, of, wrt)
    found = accumulate(prepared, target, sources, f"{target}/seed", mode)
    support = judge(prepared, target, sources, found)
    support.check()
    gradient = _assembled(opened, prepared, target, sources, found, support, mode)
    opened.check_unchanged()
    return gradient


@typed
def grad_support(
    model: Source,
    target: str | None = None,
    wrt: str | Sequence[str] | None = None,
    *,
    shapes: InputShapes | None = None,
) -> Support:
    """Whether `target` can be differentiated: an object that is true if so, and lists what stands in the way if not.

    No weight is read and no model is run.

    Args:
        model: an opened model, or what `load` opens.
        target: the tensor to differentiate; the first output by default.
        wrt: as for `add_gradient`.
        shapes: as for `add_gradient`.

    Raises:
        SelectionError: the model has no such tensor.
        InputError: the sizes do not fit the model.
    """
    opened = load(model)
    prepared = prepare(opened, shapes)
    of, sources = _ends(opened, prepared, target, wrt)
    return judge(prepared, of, sources, accumulate(prepared, of, sources, f"{of}/seed", "plain"))


def _ends(
    model: Model, prepared: Prepared, of: str | None, wrt: str | Sequence[str] | None
) -> tuple[str, tuple[str, ...]]:
    """The target and the tensors that are asked for, defaults filled in."""
    outputs = [port.name for port in model.outputs]
    if of is None and not outputs:
        raise SelectionError(f"{model.label} has no output: say which tensor is to be differentiated")
    target = of if of is not None else outputs[0]
    if wrt is None:
        wrt = _influential(prepared, target) or [value.name for value in prepared.graph.input]
    sources = (wrt,) if isinstance(wrt, str) else tuple(dict.fromkeys(wrt))
    check_tensors(prepared, target, sources)
    return target, sources


def _influential(prepared: Prepared, target: str) -> list[str]:
    """The float inputs that the target depends on in a differentiable way."""
    floats = [value.name for value in prepared.graph.input if prepared.element_type(value.name) in FLOATS]
    return [name for name in floats if target in trace(prepared, target, [name]).active]


def _assembled(
    model: Model,
    prepared: Prepared,
    of: str,
    wrt: tuple[str, ...],
    found: Accumulated,
    support: Support,
    mode: Mode,
) -> Gradient:
    """The finished model."""
    builder = found.builder
    gradients = {name: value for name, value in found.gradients.items() if value is not None}
    builder.label = "result"
    outputs = {name: builder.name(f"{name}/gradient") for name in wrt}
    for name, output in outputs.items():
        builder.nodes.append(helper.make_node("Identity", [gradients[name].name], [output]))
    graph = builder.graph(list(outputs.values()))
    kind = prepared.element_type(of) or TensorProto.FLOAT
    graph.input.append(helper.make_tensor_value_info(found.seed, kind, prepared.shape(of)))
    graph.output.append(helper.make_tensor_value_info(of, kind, prepared.shape(of)))
    for name, output in outputs.items():
        kind = prepared.element_type(name) or TensorProto.FLOAT
        graph.output.append(helper.make_tensor_value_info(output, kind, prepared.shape(name)))
    proto = pruned(prepared.model, graph, [of, *outputs.values()])
    if found.seed not in {value.name for value in proto.graph.input}:
        proto.graph.input.append(graph.input[-1])
    warnings = []
    if prepared.widened:
        warnings.append(f"{model.label} holds half-precision numbers; its gradient is computed in float32")
    if mode != "plain" and not found.steered:
        warnings.append(f"mode '{mode}' changes nothing: there is no Relu between {', '.join(wrt)} and {of}")
    trail = tuple(Passed(node.name or id_of(node), node.op_type, *ends) for node, *ends in found.trail)
    shapes = {name: prepared.shape(name) for name in (of, *wrt)}
    return Gradient(
        proto,
        prepared.folder,
        prepared.label,
        of,
        wrt,
        found.seed,
        outputs,
        shapes,
        mode,
        support.approximations,
        tuple(warnings),
        trail,
        prepared.file,
    )
