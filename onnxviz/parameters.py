"""How many parameters a model has."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from onnxviz.operators import Family, belongs, settings_inputs
from onnxviz.scopes import Scope, walk
from onnxviz.weights import Constants

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_QUANTIZED = frozenset({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4})


def count_parameters(top: Scope, constants: Constants) -> int:
    """Number of trained values in a graph and its subgraphs, each stored tensor counted once.

    Floating-point and quantised tensors count, batch-norm statistics among them; scalars, quantisation scales and
    zero points, and the integers that say shapes and axes do not.
    """
    settings: set[tuple[str, str]] = set()
    sizes: dict[tuple[str, str], int] = {}
    scopes: dict[str, Scope] = {"": top}
    for scope, node in walk(top):
        scopes.setdefault(scope.name, scope)
        settings.update((scope.name, name) for name in settings_inputs(node))
        if belongs(node, Family.CONSTANT) and node.output:
            found = constants.find(scope, node.output[0])
            if found is not None and found.shape:
                size = int(np.prod(found.shape, dtype=np.int64))
                kind = np.dtype(found.dtype).kind if found.dtype in np.sctypeDict else "V"
                if kind in "fV" or found.stored_dtype in ("int8", "uint8"):
                    sizes[scope.name, node.output[0]] = size
    for scope in scopes.values():
        for name, tensor in scope.initializers.items():
            if tensor.dims and tensor.data_type in _FLOATS | _QUANTIZED:
                sizes[scope.name, name] = int(np.prod(tensor.dims, dtype=np.int64))
        for name, sparse in scope.sparse_initializers.items():
            sizes[scope.name, name] = int(np.prod(sparse.dims, dtype=np.int64))
    return sum(size for key, size in sizes.items() if key not in settings)
