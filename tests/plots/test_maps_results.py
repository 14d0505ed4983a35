"""Plots take what the verb of their name gives, as it is."""

import numpy as np
import pytest
from command_line import mosaic_of, words_of
from protos import classifier_proto, normal

import onnxviz
from onnxviz import InputError, SelectionError


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(3).integers(0, 256, (16, 12, 3), np.uint8)


def test_maps_of_one_layer_are_drawn_as_its_array_is(pixels):
    maps = onnxviz.capture(classifier_proto(), pixels, layers="block1_conv2")
    drawn, expected = onnxviz.plot_maps(maps), onnxviz.plot_maps(maps["block1_conv2"])
    assert np.array_equal(mosaic_of(drawn), mosaic_of(expected))
    assert "block1_conv2" in words_of(drawn)


def test_of_maps_of_several_layers_one_is_named(pixels):
    maps = onnxviz.capture(classifier_proto(), pixels)
    expected = "there are maps of 3 layers (block1_conv1, block1_conv2, block2_conv1): name one, layer='block1_conv1'"
    with pytest.raises(SelectionError) as error:
        onnxviz.plot_maps(maps)
    assert str(error.value) == expected
    drawn = onnxviz.plot_maps(maps, layer="block1_conv2", first=3)
    assert np.array_equal(mosaic_of(drawn), mosaic_of(onnxviz.plot_maps(maps["block1_conv2"], first=3)))
    with pytest.raises(SelectionError, match="no maps of 'block1_conv3'; did you mean block1_conv"):
        onnxviz.plot_maps(maps, layer="block1_conv3")
    with pytest.raises(InputError, match="an array is of one layer: leave out layer"):
        onnxviz.plot_maps(maps["block1_conv1"], layer="block1_conv1")


def test_maps_of_signals_are_not_taken_for_pictures():
    """Three axes: alone they would be (C, H, W), but a layer's are (N, C, positions)."""
    maps = {"conv": normal(1, 4, 9)}
    assert np.array_equal(mosaic_of(onnxviz.plot_maps(maps)), mosaic_of(onnxviz.plot_maps(maps["conv"], spatial=1)))


def test_synthetic_inputs_are_drawn_with_their_names_and_rows():
    made = onnxviz.maximize(classifier_proto(), ["block1_conv1", "block1_conv2"], filters=[0, 2], steps=1)
    drawn = onnxviz.plot_synthetic(made)
    said = words_of(drawn)
    for target, after in zip(made.targets, made.after, strict=True):
        assert target.row in said
        assert f"{target.label}  {after:.3g}" in said or "dead" in said
    assert "What excites it most" in said
    assert "1 steps" in said
    expected = onnxviz.plot_synthetic(made.images, rows=made.rows)
    assert np.array_equal(mosaic_of(drawn), mosaic_of(expected))
    assert "mine" in words_of(onnxviz.plot_synthetic(made, title="mine"))


def test_synthetic_inputs_of_one_layer_have_its_name_as_title():
    made = onnxviz.maximize(classifier_proto(), "block1_conv1", filters=[0], steps=1)
    assert "block1_conv1" in words_of(onnxviz.plot_synthetic(made))


def test_patches_of_one_layer_are_drawn_and_of_several_one_is_named(pixels):
    found = onnxviz.top_patches(classifier_proto(), [pixels], layers="all", count=1)
    with pytest.raises(SelectionError, match=r"there are patches of 3 layers .*: name one, layer='block1_conv1'"):
        onnxviz.plot_patches(found)
    one = onnxviz.plot_patches(found, layer="block1_conv2")
    assert np.array_equal(mosaic_of(one), mosaic_of(onnxviz.plot_patches(found["block1_conv2"])))
    alone = onnxviz.top_patches(classifier_proto(), [pixels], layers="block1_conv2", count=1)
    assert np.array_equal(mosaic_of(onnxviz.plot_patches(alone)), mosaic_of(one))
    with pytest.raises(InputError, match="these are patches of one layer: leave out layer"):
        onnxviz.plot_patches(found["block1_conv2"], layer="block1_conv2")
