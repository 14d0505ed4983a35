"""Operations of Keras' TensorFlow backend that have a counterpart in ONNX, put in place while a model is traced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Attribute of a transposed convolution in TensorFlow's graph; a leading underscore makes it a private one.
PADS = "_onnxviz_pads"


@contextmanager
def exportable_operations() -> Iterator[None]:
    """Lets Keras' TensorFlow backend use, while a model is traced, operations that have a counterpart in ONNX.

    Batch normalisation: TensorFlow's fused operation, which is ONNX' BatchNormalization, instead of arithmetic.
    Grouped convolutions: the operation itself, instead of a call into XLA, which nothing but TensorFlow can read.
    Dilated convolutions: the operation itself, instead of moving space into the batch and back.
    Transposed convolutions: with a note of how they are padded, which for an open size is arithmetic on shapes.
    Resizing: without the check of sizes, which Keras 3.15 makes on open ones too and so fails.
    Where Keras has moved these functions, the model is traced as it is.
    """
    import tensorflow as tf

    try:
        from keras.src import backend
        from keras.src.ops import image
    except ImportError:
        yield
        return
    names = ("batch_normalization", "conv", "conv_transpose", "depthwise_conv", "separable_conv")
    homes = dict.fromkeys(names, backend.nn)
    homes["resize"] = image
    originals = {name: getattr(home, name) for name, home in homes.items() if hasattr(home, name)}

    def batch_normalization(
        x: Any, mean: Any, variance: Any, axis: Any, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
    ) -> Any:
        if len(x.shape) != 4 or axis not in (-1, 3) or x.dtype != tf.float32 or mean.shape.rank != 1:
            return originals["batch_normalization"](x, mean, variance, axis, offset, scale, epsilon)
        channels = int(mean.shape[0])
        scale = tf.ones([channels], x.dtype) if scale is None else tf.convert_to_tensor(scale)
        offset = tf.zeros([channels], x.dtype) if offset is None else tf.convert_to_tensor(offset)
        return tf.compat.v1.nn.fused_batch_norm(
            x, scale, offset, tf.convert_to_tensor(mean), tf.convert_to_tensor(variance), epsilon, is_training=False
        )[0]

    def conv(
        inputs: Any,
        kernel: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
    ) -> Any:
        rank = len(inputs.shape) - 2
        if data_format == "channels_first" or rank not in (1, 2, 3):
            return originals["conv"](inputs, kernel, strides, padding, data_format, dilation_rate)
        steps, dilations = ((one,) * rank if isinstance(one, int) else tuple(one) for one in (strides, dilation_rate))
        if rank == 3:
            steps, dilations = (1, *steps, 1), (1, *dilations, 1)
        operation = (tf.nn.conv1d, tf.nn.conv2d, tf.nn.conv3d)[rank - 1]
        return operation(inputs, kernel, steps, padding.upper(), dilations=dilations)

    def conv_transpose(
        inputs: Any,
        kernel: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: Any = None,
        dilation_rate: Any = 1,
    ) -> Any:
        result = originals["conv_transpose"](
            inputs, kernel, strides, padding, output_padding, data_format, dilation_rate
        )
        operation = result.op
        while operation.type in ("Squeeze", "Identity", "Reshape"):  # one-dimensional: done in two dimensions
            operation = operation.inputs[0].op
        if operation.type in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):
            pads = _transposed_pads(kernel.shape[:-2], strides, padding, output_padding, dilation_rate)
            note = tf.compat.v1.AttrValue()
            note.list.i.extend(pads)
            operation._set_attr(PADS, note)
        return result

    def depthwise_conv(
        inputs: Any,
        kernel: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
    ) -> Any:
        steps, dilations = ((one,) * 2 if isinstance(one, int) else tuple(one) for one in (strides, dilation_rate))
        if len(inputs.shape) != 4 or data_format == "channels_first" or steps != (1, 1) or set(dilations) == {1}:
            return originals["depthwise_conv"](inputs, kernel, strides, padding, data_format, dilation_rate)
        return tf.raw_ops.DepthwiseConv2dNative(
            input=inputs, filter=kernel, strides=[1, 1, 1, 1], padding=padding.upper(), dilations=[1, *dilations, 1]
        )

    def separable_conv(
        inputs: Any,
        depthwise_kernel: Any,
        pointwise_kernel: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
    ) -> Any:
        if len(inputs.shape) != 4 or data_format == "channels_first":
            return originals["separable_conv"](
                inputs, depthwise_kernel, pointwise_kernel, strides, padding, data_format, dilation_rate
            )
        spread = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
        return tf.nn.conv2d(spread, pointwise_kernel, 1, "VALID")

    def resize(images: Any, size: Any, *args: Any, **options: Any) -> Any:
        plain = not args and set(options) <= {"interpolation", "antialias", "data_format"}
        if plain and not all(isinstance(one, int) for one in size):
            return backend.image.resize(images, size, **options)
        return originals["resize"](images, size, *args, **options)

    replaced = {
        "batch_normalization": batch_normalization,
        "conv": conv,
        "conv_transpose": conv_transpose,
        "depthwise_conv": depthwise_conv,
        "separable_conv": separable_conv,
        "resize": resize,
    }
    try:
        for name in originals:
            setattr(homes[name], name, replaced[name])
        yield
    finally:
        for name, original in originals.items():
            setattr(homes[name], name, original)


@contextmanager
def numbered_scopes(layers: Sequence[Any]) -> Iterator[None]:
    """Puts each layer's position in `layers` into the names of the operations that it is traced to: `conv.L3_1/Relu`.

    TensorFlow numbers a scope that is entered again, so that `conv2d_1` may be the layer of that name or the second
    time that `conv2d` is entered. Where Keras has changed this, the names are as they are.
    """
    import tensorflow as tf

    try:
        from keras.src import backend
    except ImportError:
        yield
        return
    original = backend.name_scope
    numbers = {id(layer): number for number, layer in enumerate(layers)}

    class NumberedScope(original):  # type: ignore[misc, valid-type]
        def __init__(self, name: str, **options: Any) -> None:
            super().__init__(name, **options)
            number = numbers.get(id(options.get("caller")))
            if number is not None:
                self._tf_name_scope = tf.name_scope(f"{name}.L{number}")

    try:
        backend.name_scope = NumberedScope
        yield
    finally:
        backend.name_scope = original


def _transposed_pads(
    kernel: Sequence[int], strides: Any, padding: str, output_padding: Any, dilations: Any
) -> list[int]:
    """What a transposed convolution cuts off and adds: begins, ends, then output paddings, of at least two axes.

    Keras' sizes (`compute_conv_transpose_output_shape`) as TensorFlow fulfils them: what "same" cuts off is halved,
    the odd element falls to the end.
    """
    rank = len(kernel)
    begins, ends, extras = [], [], []
    for axis, size in enumerate(kernel):
        step, dilation = (one if isinstance(one, int) else int(one[axis]) for one in (strides, dilations))
        added = output_padding if output_padding is None or isinstance(output_padding, int) else output_padding[axis]
        extent = (size - 1) * dilation + 1
        if padding.lower() == "valid":
            growth = max(step - extent, 0) if added is None else added
        else:
            growth = (step if added is None else extent % 2 + added) - extent
        begins.append(max(-growth, 0) // 2)
        ends.append(max(-growth, 0) - begins[-1])
        extras.append(max(growth, 0))
    lead = [0] * (2 - rank)
    return [*lead, *begins, *lead, *ends, *lead, *extras]
