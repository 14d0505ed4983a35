"""Writes a trained PyTorch network as an ONNX file, one node a layer, the weights exactly the module's own.

Node and weight names are the module's paths (node ``down1.conv2``, weight ``down1.conv2.weight``); batch
normalisation stays a node of its own and every attribute that has a default is written out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET = 18
IR_VERSION = 10

# Model input = (pixel in 0...255 * scale - mean) / std, channels in the order given: -1...1 RGB.
PREPROCESSING = {"name": "signed", "scale": 1 / 127.5, "mean": [1.0], "std": [1.0], "order": "RGB"}


class OnnxWriter:
    """A graph under construction; each method adds one node and returns the name of its output."""

    def __init__(self, network: nn.Module) -> None:
        self._modules = dict(network.named_modules())
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def _weight(self, name: str, value: torch.Tensor) -> str:
        self._weights.append(numpy_helper.from_array(value.detach().numpy(), name))
        return name

    def node(self, op: str, name: str, inputs: Sequence[str], output: str | None = None, **attributes: object) -> str:
        """Any operator; the output is called as the node unless told otherwise."""
        output = output or name
        self._nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def conv(self, name: str, x: str, output: str | None = None) -> str:
        """The module ``name``: Conv2d or ConvTranspose2d."""
        module = self._modules[name]
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        inputs = [x, self._weight(f"{name}.weight", module.weight)]
        if module.bias is not None:
            inputs.append(self._weight(f"{name}.bias", module.bias))
        height, width = (int(pad) for pad in module.padding)
        return self.node(
            "ConvTranspose" if isinstance(module, nn.ConvTranspose2d) else "Conv",
            name,
            inputs,
            output,
            kernel_shape=list(module.kernel_size),
            strides=list(module.stride),
            pads=[height, width, height, width],
            dilations=list(module.dilation),
            group=module.groups,
        )

    def batch_norm(self, name: str, x: str) -> str:
        """The module ``name``: BatchNorm2d."""
        module = self._modules[name]
        assert isinstance(module, nn.BatchNorm2d)
        parts = [
            self._weight(f"{name}.{part}", getattr(module, part))
            for part in ("weight", "bias", "running_mean", "running_var")
        ]
        return self.node("BatchNormalization", name, [x, *parts], epsilon=module.eps)

    def max_pool(self, name: str, x: str) -> str:
        """2x2 max pooling, stride 2."""
        return self.node("MaxPool", name, [x], kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0])

    def dense(self, name: str, x: str, output: str | None = None) -> str:
        """The module ``name``: Linear."""
        module = self._modules[name]
        assert isinstance(module, nn.Linear)
        parts = [self._weight(f"{name}.weight", module.weight), self._weight(f"{name}.bias", module.bias)]
        return self.node("Gemm", name, [x, *parts], output, transB=1)

    def model(
        self,
        name: str,
        doc: str,
        inputs: dict[str, Sequence[int | str]],
        outputs: dict[str, Sequence[int | str]],
        metadata: dict[str, str],
    ) -> onnx.ModelProto:
        """The checked model."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in inputs.items()],
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in outputs.items()],
            self._weights,
        )
        model = helper.make_model(
            graph,
            producer_name="onnxviz models",
            doc_string=doc,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        helper.set_model_props(model, {"onnxviz.preprocessing": json.dumps(PREPROCESSING), **metadata})
        onnx.checker.check_model(model, full_check=True)
        return model


def save_verified(model: onnx.ModelProto, network: nn.Module, examples: Sequence[torch.Tensor], path: Path) -> float:
    """Writes the file if onnxruntime gives the network's output on every example; the largest difference is returned.

    Raises SystemExit, leaving any older file, where an output differs by more than 1e-4.
    """
    data = model.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    network.eval()
    worst = 0.0
    for example in examples:
        with torch.no_grad():
            expected = network(example).numpy()
        (actual,) = session.run(None, {session.get_inputs()[0].name: example.numpy()})
        assert actual.shape == expected.shape
        worst = max(worst, float(np.abs(actual - expected).max()))
    if not worst <= 1e-4:
        raise SystemExit(f"onnxruntime and torch differ by {worst:.2g} (more than 1e-4): {path} is left as it was")
    path.write_bytes(data)
    return worst
