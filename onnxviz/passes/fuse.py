"""Fusing what an exporter took apart: biases, 1-D convolutions, dense layers, normalisations; one operator each."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper

from onnxviz.model.graph.operators import Family, names
from onnxviz.model.graph.scopes import attribute, operator
from onnxviz.model.graph.windows import Window, depends_on_sizes, kernel_of, with_pads
from onnxviz.passes.normalisations import normalisations
from onnxviz.passes.patterns import Rewrites, View
from onnxviz.passes.values import KnownValue

_CONVOLUTIONS = tuple(sorted(names(Family.CONVOLUTION) - names(Family.INTEGER)))


def fuse(proto: ModelProto, known: dict[str, KnownValue], opset: int) -> bool:
    """Rewrites every pattern that is found once; says whether there was one.

    Args:
        proto: its graph is changed.
        known: values of constants; rearranged ones are added.
        opset: version of ONNX' own operators.
    """
    changed, view = False, View(proto, known, opset)
    for rewrite in _PATTERNS:
        found = False
        for old, new in rewrite(view):
            view.replace(old, new)
            found = True
        if found:
            view.close()
            changed, view = True, View(proto, known, opset)
    return changed


def _bias(view: View) -> Rewrites:
    """Conv, then Add of a trained vector along the channels: the convolution's own bias."""
    for add in view.nodes:
        if operator(add) != "Add":
            continue
        for data, vector in (add.input, add.input[::-1]):
            conv = view.made_for_one(data, _CONVOLUTIONS)
            bias = view.known.get(vector)
            if conv is None or bias is None or not (bias.arranged and bias.weights):
                continue
            if len(conv.input) > 2 and conv.input[2]:
                continue
            kernel = view.known.get(conv.input[1])
            if kernel is None or bias.array.ndim > kernel.array.ndim:
                continue
            channels = kernel.array.shape[0]
            if conv.op_type == "ConvTranspose":
                channels = kernel.array.shape[1] * (attribute(conv, "group") or 1)
            wide = (1,) * (kernel.array.ndim - bias.array.ndim) + bias.array.shape
            if wide != (1, channels, *(1,) * (len(wide) - 2)):
                continue
            fused = NodeProto()
            fused.CopyFrom(conv)
            del fused.input[2:]
            fused.input.append(view.constant(vector, "bias", bias.array.reshape(channels)))
            fused.output[0] = add.output[0]
            yield [conv, add], [fused]
            break


def _one_dimensional(view: View) -> Rewrites:
    """Unsqueeze, 2-D convolutions with 1 × k kernels, Squeeze: 1-D convolutions.

    TensorFlow has no others; seen here with the transposes of the 2-D operators still around them.
    """
    for unsqueeze in view.nodes:
        if operator(unsqueeze) != "Unsqueeze" or view.axes(unsqueeze) not in ((1,), (-3,)):
            continue
        old, convolutions = [unsqueeze], []
        before = view.only_reader(unsqueeze.output[0], "Transpose")
        squeeze = None
        while before is not None and tuple(attribute(before, "perm") or ()) == (0, 3, 1, 2):
            conv = next((one for op in _CONVOLUTIONS if (one := view.only_reader(before.output[0], op))), None)
            after = view.only_reader(conv.output[0], "Transpose") if conv is not None else None
            if conv is None or after is None or tuple(attribute(after, "perm") or ()) != (0, 2, 3, 1):
                break
            old += [before, conv, after]
            convolutions.append(conv)
            squeeze = view.only_reader(after.output[0], "Squeeze")
            before = view.only_reader(after.output[0], "Transpose")
        flat = [_flat(view, conv) for conv in convolutions]
        if squeeze is None or view.axes(squeeze) not in ((1,), (-3,)) or None in flat:
            continue
        stem = squeeze.output[0]
        current = view.names.tensor(f"{stem}/first")
        new = [helper.make_node("Transpose", [unsqueeze.input[0]], [current], name=unsqueeze.name, perm=(0, 2, 1))]
        for one in flat:
            assert one is not None
            one.input[0] = current
            current = one.output[0]
            new.append(one)
        new.append(helper.make_node("Transpose", [current], [stem], name=squeeze.name, perm=(0, 2, 1)))
        yield [*old, squeeze], new


def _one_dimensional_in_place(view: View) -> Rewrites:
    """As `_one_dimensional`, where channels come first already: nothing is turned."""
    for unsqueeze in view.nodes:
        if operator(unsqueeze) != "Unsqueeze" or view.axes(unsqueeze) not in ((2,), (-2,)):
            continue
        old, flat, end = [unsqueeze], [], unsqueeze
        while conv := next((one for op in _CONVOLUTIONS if (one := view.only_reader(end.output[0], op))), None):
            old.append(conv)
            flat.append(_flat(view, conv))
            end = conv
        squeeze = view.only_reader(end.output[0], "Squeeze")
        if not flat or None in flat or squeeze is None or view.axes(squeeze) not in ((2,), (-2,)):
            continue
        new = [one for one in flat if one is not None]
        new[0].input[0] = unsqueeze.input[0]
        new[-1].output[0] = squeeze.output[0]
        yield [*old, squeeze], new


def _flat(view: View, conv: NodeProto) -> NodeProto | None:
    """The convolution along its second axis; None where the first does something."""
    kernel = view.known.get(conv.input[1])
    if kernel is None or kernel.array.ndim != 4 or kernel.array.shape[2] != 1:
        return None
    flat = _flat_attributes(conv)
    if flat is None:
        return None
    name = view.constant(conv.input[1], "kernel", kernel.array.squeeze(2))
    one = NodeProto(op_type=conv.op_type, name=conv.name, input=[conv.input[0], name, *conv.input[2:]])
    one.output.extend(conv.output)
    one.attribute.extend(helper.make_attribute(key, value) for key, value in flat.items())
    one.metadata_props.extend(conv.metadata_props)
    return one


def _flat_attributes(conv: NodeProto) -> dict[str, object] | None:
    """The convolution's attributes along its second axis; None where the first does something."""
    flat: dict[str, object] = {}
    for one in conv.attribute:
        value = helper.get_attribute_value(one)
        if one.name in ("kernel_shape", "strides", "dilations"):
            flat[one.name] = [value[1]]
        elif one.name == "pads":
            if value[0] or value[2]:
                return None
            flat[one.name] = [value[1], value[3]]
        elif one.name in ("output_padding", "output_shape"):
            if one.name == "output_padding" and value[0]:
                return None
            flat[one.name] = [value[1]]
        else:
            flat[one.name] = value
    return flat


def _reshaped_then_turned(view: View) -> Rewrites:
    """Reshape to sizes of which all but one or two are 1, then Transpose: a Reshape, where no element moves."""
    for turn in view.nodes:
        perm = tuple(attribute(turn, "perm") or ()) if operator(turn) == "Transpose" else ()
        reshape = view.made_for_one(turn.input[0], "Reshape") if perm else None
        target = view.known.get(reshape.input[1]) if reshape is not None else None
        if reshape is None or target is None or target.array.size != len(perm) or attribute(reshape, "allowzero"):
            continue
        sizes = [int(size) for size in target.array]
        moved = [axis for axis in perm if sizes[axis] != 1]
        if moved != sorted(moved) or any(sizes[axis] == 0 and perm[axis] != axis for axis in range(len(perm))):
            continue
        fused = NodeProto()
        fused.CopyFrom(reshape)
        fused.input[1] = view.constant(reshape.input[1], "turned", np.array([sizes[axis] for axis in perm], np.int64))
        fused.output[0] = turn.output[0]
        yield [reshape, turn], [fused]


def _same_padding(view: View) -> Rewrites:
    """`auto_pad` with stride 1, where the pads do not depend on the size, written out.

    onnxruntime 1.32 leaves the dilation out of account in SAME_UPPER and SAME_LOWER.
    """
    for conv in view.nodes:
        if operator(conv) != "Conv" or not depends_on_sizes(conv):
            continue
        kernel = kernel_of(conv, lambda name: view.known[name].array.shape if name in view.known else None)
        window = Window.of(conv, kernel) if kernel is not None else None
        if window is not None:
            yield [conv], [with_pads(conv, window)]


def _dense(view: View) -> Rewrites:
    """All axes but the last made one, MatMul with a matrix, and the axes restored: MatMul along the last axis."""
    for product in view.nodes:
        matrix = view.known.get(product.input[1]) if operator(product) == "MatMul" else None
        flatten = view.made_for_one(product.input[0], "Reshape") if matrix is not None else None
        restore = view.only_reader(product.output[0], "Reshape") if flatten is not None else None
        if matrix is None or flatten is None or restore is None or matrix.array.ndim != 2:
            continue
        rows, columns = matrix.array.shape
        sizes = view.sizes.of(flatten.input[0])
        flat = view.sizes.elements(flatten.input[1])
        if sizes is None or len(sizes) < 2 or sizes[-1] != rows or flat is None or [*flat[1:]] != [rows]:
            continue
        if not view.reshapes_to(restore, [*sizes[:-1], columns]):
            continue
        fused = NodeProto()
        fused.CopyFrom(product)
        fused.input[0] = flatten.input[0]
        fused.output[0] = restore.output[0]
        yield [flatten, product, restore], [fused]


_PATTERNS = (
    _bias,
    _one_dimensional,
    _one_dimensional_in_place,
    _reshaped_then_turned,
    _same_padding,
    _dense,
    normalisations,
)
