"""Ports: a model's inputs and outputs, with shape, type and image layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, ValueInfoProto

from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope
from onnxviz.model.graph.shapes import value_shape
from onnxviz.model.graph.symbolic_sizes import Dim


@dataclass(frozen=True)
class Port:
    """An input or output of a model.

    Attributes:
        name: the tensor's name.
        dtype: numpy's name of the element type, "" if it is not declared.
        shape: a size, the name of a symbolic dimension, or None, per axis; None if it is not declared.
        layout: "NCHW", "NHWC", "NCW", "NCDHW", … for images and signals, "NVCHW" for several views of each sample,
            "NTHWC" for the frames of a clip; "" where it cannot be told.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None
    layout: str

    @property
    def channel_axis(self) -> int | None:
        """Which axis of one sample, the batch axis left out, counts channels; None where that cannot be told."""
        return self.layout.index("C") - 1 if self.layout else None

    @property
    def is_unclear(self) -> bool:
        """Whether its sizes alone make too little of a layout: none could be that of colours, or of more than one."""
        shape = self.shape or ()
        return len(shape) > 4 or (len(shape) > 2 and not {1, 3, 4} & {shape[1], shape[-1]})


def port_of(value: ValueInfoProto, scope: Scope, fed: str | None) -> Port:
    """The port that a graph declares; `fed` is the tensor whose readers tell an input's layout, None for an output."""
    data_type = value.type.tensor_type.elem_type
    try:
        dtype = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(data_type))) if data_type else ""
    except (KeyError, TypeError):
        dtype = ""
    if data_type == TensorProto.STRING:
        dtype = "string"
    shape = value_shape(value)
    return Port(value.name, dtype, shape, _image_layout(shape, scope, fed) if fed is not None else "")


_LAYOUTS = {3: ("NCW", "NWC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}
_CHANNELS_LAST_TO_FIRST = {3: (0, 2, 1), 4: (0, 3, 1, 2), 5: (0, 4, 1, 2, 3)}
_RESCALING = Family.IDENTITY | Family.AFFINE | Family.QUANTISING | Family.DEQUANTISING


def _image_layout(shape: tuple[Dim, ...] | None, scope: Scope, tensor: str) -> str:
    """The order of an input's axes: what its first readers do with it, else which axis could be channels."""
    if shape is None or len(shape) not in _LAYOUTS:
        return ""
    first, last = _LAYOUTS[len(shape)]
    told = read_layout(len(shape), scope, tensor)
    if told or shape[1] in (1, 3, 4):
        return told or first
    return last if shape[-1] in (1, 3, 4) else first


def read_layout(rank: int, scope: Scope, tensor: str) -> str:
    """The order of an input's axes that its first readers tell: those of a convolution, or of what makes it so."""
    if rank not in _LAYOUTS:
        return ""
    first, last = _LAYOUTS[rank]
    for _ in range(8):  # rescaling layers may stand before the first operator that tells
        readers = scope.consumers.get(tensor, [])
        for node in readers:
            perm = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), None)
            if node.op_type == "Transpose" and perm == _CHANNELS_LAST_TO_FIRST[rank]:
                return last
            if belongs(node, Family.CONVOLUTION | Family.POOLING):
                return first
        passing = len(readers) == 1 and (belongs(readers[0], _RESCALING) or readers[0].op_type == "Pad")
        if not passing or not readers[0].output:
            break
        tensor = readers[0].output[0]
    return ""
