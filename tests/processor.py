"""Which of this processor's features the libraries of the tests use; printed where a test has failed.

Rounding differs from one instruction set to another. numpy and onnxruntime take what the processor has; TensorFlow and
PyTorch can be held to less (`make test-portable`).
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import numpy as np

OPTIONS = ("TF_ENABLE_ONEDNN_OPTS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
_SHOWN = ("sse4_1", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")


def in_use() -> list[str]:
    """A line for each: the processor, the options that are set, and each library that this process has loaded."""
    options = ", ".join(f"{name}={os.environ[name]}" for name in OPTIONS if name in os.environ)
    lines = [f"processor: {_processor()}", f"options: {options or 'none set'}"]
    simd = np.show_config(mode="dicts").get("SIMD Extensions", {})
    lines.append(f"numpy {np.__version__}: {' '.join([*simd.get('baseline', []), *simd.get('found', [])])}")
    if (torch := sys.modules.get("torch")) is not None:
        lines.append(f"torch {torch.__version__}: {torch.backends.cpu.get_cpu_capability()}")
    if (tf := sys.modules.get("tensorflow")) is not None and hasattr(tf, "nn"):
        lines.append(f"tensorflow {tf.__version__}: {_one_dnn(tf)}")
    if (ort := sys.modules.get("onnxruntime")) is not None:
        lines.append(f"onnxruntime {ort.__version__}: what the processor has")
    return lines


def _processor() -> str:
    try:
        info = dict(
            (part.strip() for part in line.split(":", 1))
            for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
            if ":" in line
        )
    except OSError:
        return platform.processor() or platform.machine()
    flags = info.get("flags", "").split()
    return f"{info.get('model name', platform.machine())}: {' '.join(one for one in _SHOWN if one in flags)}"


def _one_dnn(tf: object) -> str:
    """Only oneDNN's convolutions take channels first."""
    try:
        tf.nn.conv2d(tf.zeros((1, 1, 1, 1)), tf.zeros((1, 1, 1, 1)), 1, "SAME", data_format="NCHW")
    except tf.errors.OpError:
        return "without oneDNN's kernels"
    return "with oneDNN's kernels"
