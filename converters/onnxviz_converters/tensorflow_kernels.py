"""A TensorFlow model run as it is, or through XLA where TensorFlow has no kernel for this processor.

TensorFlow has channels-first (NCHW) convolutions for the CPU from oneDNN alone, which it switches on by itself on some
processors only, and not once it is loaded. XLA compiles them on every processor.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from onnxviz.conversion.converter import Unverifiable
from onnxviz.messages import option
from onnxviz_converters.keras_layers import one_line

# "The Conv2D op currently only supports the NHWC tensor format on the CPU."
_LACKING = re.compile(r"only supports\b.{0,20}\bND?HWC\b", re.DOTALL)

NOTE = (
    "compared through XLA: TensorFlow has no channels-first kernels of its own for this processor "
    "(TF_ENABLE_ONEDNN_OPTS=1, set before TensorFlow is loaded, switches on those of oneDNN)"
)


def run(call: Callable[..., Any], *arrays: Any) -> tuple[Any, bool]:
    """What `call` gives, and whether XLA had to compile it.

    Args:
        call: takes tensors and gives a structure of tensors; it is called again, with symbolic ones, for XLA.
        arrays: numpy arrays or tensors.

    Raises:
        Unverifiable: TensorFlow has no kernel, and XLA cannot compile the model either.
        Exception: whatever `call` raises.
    """
    import tensorflow as tf

    try:
        return call(*arrays), False
    except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError) as error:
        if not _LACKING.search(str(error)):
            raise
    compiled = tf.function(call, jit_compile=True, autograph=False)
    try:
        return compiled(*(tf.convert_to_tensor(one) for one in arrays)), True
    except Exception as error:
        raise Unverifiable(
            "TensorFlow has no channels-first kernels for this processor, and XLA cannot compile the model "
            f"({one_line(error)}), so that a conversion cannot be compared with it: set TF_ENABLE_ONEDNN_OPTS=1 before "
            f"TensorFlow is loaded, or {option('verify', python='False')} converts it all the same"
        ) from None
