"""Whole networks of both frameworks, exported in every way, have their framework's own gradient: 1 − cos < 1e-4.

`python tests/accuracy` prints the figures.
"""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

pytest.importorskip("torch", reason="the oracle is PyTorch's autograd: pip install torch")
pytest.importorskip("onnxscript", reason="PyTorch's exporter needs it: pip install onnxscript")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own imports warn
    pytest.importorskip("tf2onnx", reason="it exports from Keras: pip install onnxviz[keras]")
    from accuracy import SOURCES, cases

from accuracy.measure import measure
from onnxviz.errors import InputError

# One of each source and exporter, and of the kinds that differ: grouped, 3-D, several inputs, quantised, recurrent.
QUICK = {
    *("resnet18-onnxviz.convert", "squeezenet1_1-dynamo-unoptimised"),
    *(f"models.{name}-onnxviz.convert" for name in ("convnext", "volume_net", "two_in_two_out", "signals")),
    "MobileNetV3Small-onnxviz.convert",
    *("resnet18,-quantised-per-channel-uint8-×-int8", "unet.onnx,-quantised-per-tensor-uint8-×-int8"),
    *("silero_vad.onnx-silero-vad", "silero_vad_16k_sequence.onnx-silero-vad"),
}
# Exports that are no ONNX, or ask for inputs of their own making, and recurrent networks.
REFUSED = {
    "EfficientNetB0-tf2onnx": "inputs that the network has not",
    "models.two_in_two_out-tf2onnx": "inputs that the network has not",
    "models.open_size-tf2onnx": "Erfc",
    "models.grouped-tf2onnx": "StatefulPartitionedCall",
    "silero_vad.onnx-silero-vad": "If",
    "silero_vad_16k_op15.onnx-silero-vad": "If",
    "silero_vad_16k_sequence.onnx-silero-vad": "LSTM",
    "silero_vad_half.onnx-silero-vad": "If",
    "silero_vad_op18_ifless.onnx-silero-vad": "If",
    "silero_vad_openvino_16k.onnx-silero-vad": "LSTM",
}
# Exports that onnxruntime cannot run, gradient or not.
BROKEN = {
    "r3d_18-dynamo-unoptimised": "bias must be a 1D tensor",
    "models.volume_net-dynamo-unoptimised": "bias must be a 1D tensor",
    "models.shared_twice-TorchScript": "Dilation not supported for AutoPadType",
}
CASES = [case for source in SOURCES for case in cases(source)]


def test_the_quick_ones_exist():
    assert {case.label for case in CASES} >= QUICK


@pytest.mark.filterwarnings("ignore")  # both frameworks and their exporters use what others deprecate
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.label, marks=() if case.label in QUICK else pytest.mark.slow) for case in CASES],
)
def test_gradient(case, tmp_path):
    for package in case.needs:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed (tests/requirements-files.txt)")
    if case.label in BROKEN:
        with pytest.raises(InputError, match=BROKEN[case.label]):
            measure(case, tmp_path)
        return
    found = measure(case, tmp_path)
    if case.label in REFUSED:
        assert REFUSED[case.label] in found.refused
        return
    assert not found.refused
    assert found, found
    assert found.value < (0.2 if found.approximations else 1e-3)
    assert not found.warnings
