"""Models that onnxruntime's own quantiser and its conversion to half precision make."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime import quantization
from onnxruntime.transformers.float16 import convert_float_to_float16

UNSIGNED = ("QUInt8", "QUInt8")


class _Samples(quantization.CalibrationDataReader):
    """What the ranges are found with."""

    def __init__(self, feeds: Sequence[Mapping[str, np.ndarray]]) -> None:
        self.left = list(feeds)

    def get_next(self):
        return self.left.pop() if self.left else None


def quantise(
    source: Path,
    target: Path,
    samples: Sequence[np.ndarray | Mapping[str, np.ndarray]],
    *,
    form: str = "QDQ",
    per_channel: bool = False,
    types: tuple[str, str] = ("QUInt8", "QInt8"),
    exclude: Sequence[str] = (),
    seven_bits: bool = False,
) -> Path:
    """Writes `target`, in `form` "QDQ" or "QOperator"; gives its path.

    `samples` are (N, …) of the first input, or by the name of each; `types` those of activations and of weights;
    `exclude` names of nodes; with `seven_bits` weights have seven. With eight of them signed, processors without VNNI
    cut products off; with `UNSIGNED` all processors compute the same.
    """
    proto = onnx.load(source)
    name = proto.graph.input[0].name
    with unadvised(), tempfile.TemporaryDirectory() as folder:
        # The quantiser writes a file beside its source, and removes it: two at once would take away each other's.
        alone = Path(folder, "source.onnx")
        onnx.save(proto, alone)
        quantization.quantize_static(
            alone,
            target,
            _Samples([one if isinstance(one, Mapping) else {name: one} for one in samples]),
            quant_format=quantization.QuantFormat[form],
            per_channel=per_channel,
            activation_type=quantization.QuantType[types[0]],
            weight_type=quantization.QuantType[types[1]],
            nodes_to_exclude=list(exclude),
            reduce_range=seven_bits,
        )
    return target


@contextmanager
def unadvised() -> Iterator[None]:
    """Without the quantiser's advice to prepare the model, and to fold batch normalisation where there may be none."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def folded(source: Path, target: Path) -> Path:
    """Writes `target`: the same with batch normalisations folded into convolutions, as is done before quantisation."""
    return optimised(source, target, "BASIC")


def optimised(source: Path, target: Path, level: str) -> Path:
    """Writes `target`: what onnxruntime makes of the graph at a level of optimisation, "BASIC" or "EXTENDED"."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return target


def halve(source: Path, target: Path, *, blocked: Sequence[str] = ()) -> Path:
    """Writes `target`: the same in float16 but for the nodes that are blocked; gives its path."""
    proto = convert_float_to_float16(onnx.load(source), keep_io_types=True, node_block_list=list(blocked))
    _bypass_casts(proto.graph)
    onnx.save(proto, target)
    return target


def _bypass_casts(graph: onnx.GraphProto) -> None:
    """Between two nodes that are blocked, onnxruntime's tool leaves a cast to float16 and back, which overflows."""
    made = {name: node for node in graph.node for name in node.output}
    direct = {}
    for node in graph.node:
        before = made.get(node.input[0]) if node.op_type == "Cast" else None
        if before is not None and before.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT:
            direct[node.output[0]] = before.input[0]
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = direct.get(name, name)
