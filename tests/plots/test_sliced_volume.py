"""Explanations of volumes: slices of the input, below each that of the map, interpolated along all three axes."""

import numpy as np
import pytest
from figures import facts, rendered, words
from protos import normal, parsed

from onnxviz import explain, plot_explanation
from onnxviz.inputs.interpolate import resized


def explained(shape, **options):
    proto = parsed(
        f"""g (float["n", {shape[0]}, "d", "h", "w"] x) => (float["n", 3] y) {{
              c = Conv <pads = [1, 1, 1, 1, 1, 1], strides = [2, 2, 2]> (x, w)
              r = Relu (c)
              m = ReduceMean <keepdims = 0> (r, a)
              y = MatMul (m, d)
            }}""",
        w=normal(4, shape[0], 3, 3, 3), a=np.array([2, 3, 4]), d=normal(4, 3),
    )  # fmt: skip
    return explain(proto, normal(1, *shape), method="grad-cam", **options)


@pytest.mark.parametrize(("depth", "slices"), [(6, 6), (30, 24)])
def test_each_slice_has_its_map_below_it(depth, slices):
    found = explained((1, depth, 8, 12))
    figure = plot_explanation(found)
    images = figure.axes[0].images
    assert len(images) == 3 * slices + 1
    places = np.linspace(0, depth - 1, slices).round().astype(int)
    assert {f"slice {place}" for place in places} | {"input", "grad-cam"} <= set(words(figure))
    assert f"slices along the first axis{f': {slices} of {depth}' if slices < depth else ''}" in facts(figure)
    sizes = "×".join(map(str, found.map.shape))
    assert f"map of {sizes}, enlarged linearly" in facts(figure)
    (volume,) = found.given
    low, high = volume.min(), volume.max()
    for place, image in zip(places, images[:slices], strict=True):
        picture = image.get_array()[..., 0]
        expected = resized(((volume[place] - low) / (high - low))[None], picture.shape)[0]
        np.testing.assert_allclose(picture, expected, atol=0.5 / 255 + 1e-6)
    rendered(figure)


def test_its_range_is_that_of_the_map_over_all_slices():
    found = explained((1, 6, 8, 12))
    figure = plot_explanation(found)
    assert f"{found.upsampled((6, 8, 12)).max():.3g}" in " ".join(words(figure))


def test_a_band_of_several_can_be_chosen_and_is_said():
    found = explained((5, 6, 8, 12))
    assert "band 0 of 5, grey" in facts(plot_explanation(found))
    figure = plot_explanation(found, bands=(4,))
    assert "band 4 of 5, grey" in facts(figure)
    volume = found.given[4]
    picture = figure.axes[0].images[2].get_array()[..., 0]
    expected = resized(((volume[2] - volume.min()) / np.ptp(volume))[None], picture.shape)[0]
    np.testing.assert_allclose(picture, expected, atol=0.5 / 255 + 1e-6)
