"""Ports that take pictures: their sizes, channels, and the one that is meant."""

import pytest
from protos import one_conv_proto, two_inputs_proto

from onnxviz import InputError, load
from onnxviz.inputs.picture_ports import channels_of, image_size, is_picture, no_such_input, only_input, ports_of


@pytest.mark.parametrize(
    ("shape", "layout", "picture", "size", "channels"),
    [
        (("n", 3, 4, 5), "NCHW", True, (4, 5), 3),
        (("n", 4, 5, 3), "NHWC", True, (4, 5), 3),
        (("n", 3, "h", 5), "NCHW", True, None, 3),
    ],
)
def test_sizes_and_channels(shape, layout, picture, size, channels):
    (port,) = load(one_conv_proto(shape, layout=layout)).inputs
    assert (is_picture(port), image_size(port), channels_of(port)) == (picture, size, channels)


def test_the_one_that_is_meant():
    assert only_input(load(one_conv_proto((1, 3, 4, 4), name="photo"))).name == "photo"
    several = load(two_inputs_proto())
    assert [*ports_of(several)] == ["left", "right"]
    with pytest.raises(InputError, match=r"2 inputs \(left, right\): give each as NAME=PATH"):
        only_input(several)
    assert no_such_input(several, "lefft").endswith("no input called 'lefft'; did you mean left? it has left, right")
