"""Arrays to draw, and what a figure of them shows."""

from types import SimpleNamespace

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

RNG = np.random.default_rng(1)
WEIGHT = RNG.normal(size=(10, 3, 3, 3)).astype(np.float32)
LAYER = SimpleNamespace(name="block1_conv1", weight=WEIGHT)
MAPS = RNG.normal(size=(20, 6, 9)).astype(np.float32)


def image(figure):
    return figure.axes[0].images[0]


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def facts(figure):
    """The second line, however it was wrapped."""
    return " · ".join(text.get_text() for text in figure.axes[0].texts if text.get_fontsize() == 8.5)


def numbers(figure):
    """The numbers of rows, columns and tiles, in that order."""
    return [int(text.get_text()) for text in figure.axes[0].texts if text.get_text().isdigit()
            and text.get_fontsize() == 7]  # fmt: skip


def rendered(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def tiles(figure, shape):
    """Cuts the mosaic along its fully masked rows and columns, and takes repeated entries once: needs no Grid."""
    mosaic = image(figure).get_array()
    seen = ~np.ma.getmaskarray(mosaic) if mosaic.ndim == 2 else mosaic[..., 3] > 0

    def runs(filled):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], filled.astype(int), [0]])))
        return list(zip(edges[::2], edges[1::2], strict=True))

    cut = []
    for top, bottom in runs(seen.any(axis=1)):
        for left, right in runs(seen[top:bottom].any(axis=0)):
            tile = mosaic[top:bottom, left:right]
            down, across = (bottom - top) // shape[0], (right - left) // shape[1]
            assert tile.shape[:2] == (shape[0] * down, shape[1] * across)
            small = np.asarray(tile[::down, ::across])
            np.testing.assert_array_equal(np.asarray(tile), small.repeat(down, 0).repeat(across, 1))
            cut.append(small)
    return cut


def unit(values, low, high):
    low, high = float(low), float(high)
    return ((np.asarray(values, np.float64) - low) / (high - low)).astype(np.float32)


def assert_tiles(figure, expected):
    found = tiles(figure, expected[0].shape[:2])
    assert len(found) == len(expected)
    for tile, picture in zip(found, expected, strict=True):
        np.testing.assert_array_equal(tile, picture)


def flawed():
    maps = MAPS[:5].copy()
    maps[1] = 7
    maps[2, 0, :5] = np.nan
    maps[3, 2, 3] = -np.inf
    maps[4] = np.nan
    return maps


def drawn(figure):
    """The figure, after it was drawn once: texts have their extents then."""
    FigureCanvasAgg(figure).draw()
    return figure


def inside(figure):
    """Whether all words are within the figure."""
    renderer = figure.canvas.get_renderer()
    width, height = figure.get_size_inches() * figure.dpi
    for axes in figure.axes:
        for text in axes.texts:
            box = text.get_window_extent(renderer)
            if not (box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width + 1 and box.y1 <= height + 1):
                return False
    return True


def boxes_of(figure):
    """Of each image, where it lies in pixels of the page: (left, top, right, bottom)."""
    axes = figure.axes[0]
    return [(left, top, right, bottom) for left, right, bottom, top in (one.get_extent() for one in axes.images)]


def assert_laid_out(figure):
    """All words and pictures are within the figure, and no picture lies on another or on words."""
    assert inside(drawn(figure))
    renderer = figure.canvas.get_renderer()
    whole = figure.bbox
    pictures = [one.get_window_extent(renderer) for one in figure.axes[0].images]
    for number, box in enumerate(pictures):
        assert box.x0 >= -0.5
        assert box.y0 >= -0.5
        assert box.x1 <= whole.x1 + 0.5
        assert box.y1 <= whole.y1 + 0.5
        for other in pictures[:number]:
            assert box.x1 <= other.x0 + 0.5 or other.x1 <= box.x0 + 0.5 or box.y1 <= other.y0 + 0.5 or (
                other.y1 <= box.y0 + 0.5
            ), (box, other)  # fmt: skip
