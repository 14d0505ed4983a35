"""Keras models that cannot be converted say which layer and why."""

import pytest
from keras_checks import keras, layers

import onnxviz
from onnxviz import ConversionError


class Doing(layers.Layer):
    """A layer that does what it is told."""

    def __init__(self, what, **options):
        super().__init__(**options)
        self.what = what

    def call(self, x):
        return self.what(x)


def extract_patches(x):
    import tensorflow as tf

    return tf.image.extract_patches(x, [1, 2, 2, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME")


def hidden_variable(x):
    import tensorflow as tf

    if not hasattr(hidden_variable, "value"):
        with tf.init_scope():
            hidden_variable.value = tf.Variable(2.0)
    return x * hidden_variable.value


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda x: keras.ops.fft2((x, x))[0], r"m uses Complex \(in odd\), which ONNX has no operator for"),
        (extract_patches, r"tf2onnx cannot convert ExtractImagePatches in odd of m: "),
        (hidden_variable, r"m reads a TensorFlow variable or table in odd.* that is no weight of the model"),
        (lambda x: x + keras.random.normal((1,)), r"table in odd.* \(random numbers drawn without a seed"),
        (lambda x: x + keras.random.normal((1,), seed=1), r"m uses Stateless\w+ \(in odd"),
        (lambda x: keras.ops.image.resize(x, (33, 35), interpolation="bicubic"), r"output 'odd' by .*0\.0001 is allow"),
        (lambda x: 1 / 0, r"m cannot be traced: .*division by zero"),
    ],
)
def test_an_operation_that_onnx_lacks_is_named_with_its_layer(what, message):
    image = keras.Input((12, 14, 3))
    odd = Doing(lambda x: x, name="odd")
    model = keras.Model(image, odd(layers.Conv2D(3, 3, name="c")(image)), name="m")
    odd.what = what
    with pytest.raises(ConversionError, match=message) as caught:
        onnxviz.convert(model)
    assert "\n" not in str(caught.value)


def test_text_is_refused():
    look_up = layers.StringLookup(vocabulary=["a", "b"])
    words = keras.Input((6,), dtype="string", name="words")
    model = keras.Model(words, layers.Conv1D(3, 2)(layers.Embedding(5, 4)(look_up(words))), name="m")
    with pytest.raises(ConversionError, match=r"input 'words' of m is text.*StringLookup"):
        onnxviz.convert(model)
