"""Maps and pictures beside what the programs in Keras make of them."""

from __future__ import annotations

import numpy as np

import onnxviz
from gallery import originals

CLOSE = 1e-4  # of the largest value


def close(ours, theirs, within=CLOSE):
    """Arrays of one shape, by the largest value; prints how far apart they are, for `make gallery-check`."""
    assert ours.shape == theirs.shape
    assert np.abs(theirs).max() > 0
    apart = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"{'x'.join(map(str, ours.shape))}: {apart:.1e} of the largest value apart")
    assert apart <= within


def check_maps(ours, theirs):
    """(N, C, H, W) beside Keras' (N, H, W, C)."""
    close(ours, np.moveaxis(theirs, -1, 1))


def holds_picture(figure, picture, within):
    """Whether a figure has a picture (h, w) somewhere, each value a square of pixels where it is small."""
    drawn = np.ma.filled(figure.axes[0].images[0].get_array().astype(float), -1)
    factor = max(1, drawn.shape[1] // picture.shape[1])
    wanted = picture.repeat(factor, axis=0).repeat(factor, axis=1).astype(float)
    height, width = wanted.shape
    return any(
        np.abs(drawn[top : top + height, left : left + width] - wanted).max() <= within
        for top in range(drawn.shape[0] - height + 1)
        for left in range(drawn.shape[1] - width + 1)
    )


def check_grey(maps):
    """Each of the first 64 maps (1, C, H, W), drawn alone and so at its own size, is what imshow shows.

    imshow draws a constant map as 0; ours is grey and marked.
    """
    for channel, plain in enumerate(maps[0, :64]):
        if plain.min() < plain.max():
            figure = onnxviz.plot_maps(maps, channels=[channel], scale="map", cmap="gray")
            assert holds_picture(figure, originals.in_range(plain), 1e-6), channel


def check_strip(maps):
    """Each map (C, H, W) of a strip is the program's, in steps of 1 of 255."""
    for channel, plain in enumerate(maps):
        figure = onnxviz.plot_maps(maps[None], channels=[channel], style="strip", scale="standardize", cmap="viridis")
        assert holds_picture(figure, originals.standardised(plain), 1), channel
