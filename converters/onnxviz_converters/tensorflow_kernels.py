"""A TensorFlow model run as it is, or through XLA where TensorFlow has no kernel for this processor.

TensorFlow has channels-first (NCHW) convolutions for the CPU from oneDNN alone, which it switches on by itself on some
processors only, and not once it is loaded. Where oneDNN is held to less than the processor has (`ONEDNN_MAX_CPU_ISA`),
it lacks convolutions of bfloat16 that TensorFlow counts on. XLA compiles both on every processor.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from onnxviz.conversion.converter import Unverifiable
from onnxviz.messages import option
from onnxviz_converters.keras_layers import one_line

# By what TensorFlow says: what it lacks, and the option, to be set before it is loaded, that helps.
# "The Conv2D op currently only supports the NHWC tensor format on the CPU."
# "could not create a primitive descriptor for the convolution forward propagation primitive"
_LACKING = {
    re.compile(r"only supports\b.{0,20}\bND?HWC\b", re.DOTALL): (
        "TensorFlow has no channels-first kernels of its own for this processor",
        "TF_ENABLE_ONEDNN_OPTS=1",
    ),
    re.compile(r"could not create a primitive descriptor"): (
        "oneDNN, as it is set up, has no kernel of an operation for this processor",
        "TF_ENABLE_ONEDNN_OPTS=0",
    ),
}


def run(call: Callable[..., Any], *arrays: Any) -> tuple[Any, tuple[str, ...]]:
    """What `call` gives, and what a user should know of how: that XLA had to compile it.

    Args:
        call: takes tensors and gives a structure of tensors; it is called again, with symbolic ones, for XLA.
        arrays: numpy arrays or tensors.

    Raises:
        Unverifiable: TensorFlow has no kernel, and XLA cannot compile the model either.
        Exception: whatever `call` raises.
    """
    import tensorflow as tf

    try:
        return call(*arrays), ()
    except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError, tf.errors.AbortedError) as error:
        found = next((said for pattern, said in _LACKING.items() if pattern.search(str(error))), None)
        if found is None:
            raise
        lacking, helps = found
    compiled = tf.function(call, jit_compile=True, autograph=False)
    try:
        values = compiled(*(tf.convert_to_tensor(one) for one in arrays))
    except Exception as error:
        raise Unverifiable(
            f"{lacking}, and XLA cannot compile the model ({one_line(error)}), so that a conversion cannot be compared "
            f"with it: set {helps} before TensorFlow is loaded, or {option('verify', python='False')} converts it all "
            "the same"
        ) from None
    return values, (f"compared through XLA: {lacking} ({helps}, set before TensorFlow is loaded, helps)",)
