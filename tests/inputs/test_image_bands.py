"""Bands into channels: which pictures make which inputs, mixed as the formulas say."""

import numpy as np
import pytest
from pictures import RNG, luma

from onnxviz.errors import InputError
from onnxviz.inputs.image_bands import Bands, Kind

GREY, GREY_ALPHA, RGB, RGB_ALPHA = Kind(1, False, 1), Kind(1, True, 2), Kind(3, False, 3), Kind(3, True, 4)
RGB_INFRARED, EIGHT = Kind(3, False, 4), Kind(0, False, 8)
WHITE = (255, 255, 255)


@pytest.mark.parametrize(
    ("kind", "wanted", "words"),
    [
        (GREY, {1, 3}, "1 channel (grey)"),
        (GREY_ALPHA, {1, 2, 3, 4}, "2 channels (grey and alpha)"),
        (RGB, {1, 3}, "3 channels (RGB)"),
        (RGB_ALPHA, {1, 3, 4}, "4 channels (RGB and alpha)"),
        (RGB_INFRARED, {4}, "4 channels (RGB and 1 more)"),
        (EIGHT, {8}, "8 channels"),
        (Kind(3, True, 5), {5}, "5 channels (RGB and alpha and 1 more)"),
    ],
)
def test_no_band_is_made_up_or_left_out(kind, wanted, words):
    assert str(kind) == words
    for channels in range(10):
        if channels in wanted:
            assert kind.channels(channels, "a.tif") == channels
        else:
            with pytest.raises(InputError) as caught:
                kind.channels(channels, "a.tif")
            assert str(caught.value).startswith(f"a.tif has {words}, and the input takes {channels} channel")
    assert kind.channels(None, "a.tif") == (kind.bands if kind.others else 3)


def planes(count, dtype=np.uint16):
    return [RNG.integers(0, np.iinfo(dtype).max, (4, 6), dtype) for _ in range(count)]


def test_bands_are_scaled_to_255():
    bands = Bands(planes(4), 65535, RGB_INFRARED)
    np.testing.assert_array_equal(bands.pixels(4, None, "stretch", WHITE), np.float32(np.stack(bands.planes, -1) / 257))
    shallow = Bands(planes(4, np.uint8), 255, RGB_INFRARED)
    made = shallow.pixels(4, None, "stretch", WHITE)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, np.stack(shallow.planes, -1))


@pytest.mark.parametrize("ground", [WHITE, (18, 200, 50)])
@pytest.mark.parametrize("colours", [1, 3])
def test_colours_are_laid_on_the_ground_and_weighed(colours, ground):
    bands = Bands(planes(colours + 1), 65535, Kind(colours, True, colours + 1))
    stacked = np.stack(bands.planes, -1) / 257
    shown, share = np.repeat(stacked[..., :-1], 3 // colours, -1), stacked[..., -1:] / 255
    expected = shown * share + np.array(ground) * (1 - share)
    np.testing.assert_allclose(bands.pixels(3, None, "stretch", ground), expected, atol=1e-4)
    np.testing.assert_allclose(bands.pixels(1, None, "stretch", ground)[..., 0], luma(expected), atol=1e-4)
    whole = np.concatenate([shown, share * 255], -1)
    np.testing.assert_allclose(bands.pixels(4, None, "stretch", ground), whole, atol=1e-4)


def test_half_the_size_is_the_mean_of_neighbours_inside():
    ramp = np.arange(0, 64 * 500, 500, dtype=np.uint16)
    bands = Bands([np.repeat(ramp[None], 64, 0)], 65535, GREY)
    small = bands.pixels(1, (16, 16), "stretch", WHITE)[0, 1:-1, 0]
    # Pixel j of 16 covers columns 4j … 4j + 3, whose mean is 2000j + 750.
    np.testing.assert_allclose(small, (np.arange(1, 15) * 2000 + 750) / 257, rtol=1e-5)
