"""The plot of a difference: what its tiles hold, which channels it shows, and what is said of them."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from figures import drawn, facts, image, inside, words
from matplotlib.patches import Rectangle
from protos import normal

from onnxviz import plot_difference
from onnxviz.errors import InputError

A = normal(6, 4, 5)
B = A + normal(6, 4, 5, seed=2) * np.array([1, 6, 2, 5, 3, 4], np.float32)[:, None, None]
GREYS, COLOURS = matplotlib.colormaps["gray"], matplotlib.colormaps["RdBu_r"]


def cells(figure, shape: tuple[int, int], rows: int) -> list[list[np.ndarray]]:
    """The pictures of each row, cut out of the mosaic by the fully transparent lines around them."""
    seen = ~np.ma.getmaskarray(image(figure).get_array())
    mosaic = np.ma.getdata(image(figure).get_array())
    seen = seen.any(-1) if seen.ndim == 3 and mosaic.shape[-1] == 3 else mosaic[..., 3] > 0

    def runs(filled: np.ndarray) -> list[tuple[int, int]]:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], filled.astype(int), [0]])))
        return list(zip(edges[::2], edges[1::2], strict=True))

    downs, acrosses = runs(seen.any(1)), runs(seen.any(0))
    assert (len(downs), len(acrosses)) == (rows, 3)
    found = []
    for top, bottom in downs:
        factor = (bottom - top) // shape[0]
        row = [mosaic[top:bottom:factor, left:right:factor, :3] for left, right in acrosses]
        assert all(cell.shape[:2] == shape for cell in row)
        found.append(row)
    return found


def as_colours(values, low, high, cmap) -> np.ndarray:
    scaled = (np.asarray(values, np.float64) - low) / (high - low)
    return cmap(scaled.astype(np.float32))[..., :3]


def labels(figure) -> list[str]:
    """Channels, from top to bottom."""
    return [text for text in words(figure) if text.isdigit()]


def test_each_row_is_a_b_and_what_is_between_them() -> None:
    figure = plot_difference(A, B, first=3)
    assert labels(figure) == ["1", "3", "5"]
    apart = B.astype(np.float64) - A
    most = np.abs(apart[[1, 3, 5]]).max()
    for channel, (a, b, between) in zip((1, 3, 5), cells(figure, (4, 5), 3), strict=True):
        both = np.stack([A[channel], B[channel]])
        np.testing.assert_allclose(a, as_colours(A[channel], both.min(), both.max(), GREYS), atol=1 / 255)
        np.testing.assert_allclose(b, as_colours(B[channel], both.min(), both.max(), GREYS), atol=1 / 255)
        np.testing.assert_allclose(between, as_colours(apart[channel], -most, most, COLOURS), atol=1 / 255)
    assert "3 of 6 channels, the largest difference first" in facts(figure)
    assert f"difference from −{most:.3g} (blue) to {most:.3g} (red)" in facts(figure)


def test_channels_that_are_named_stand_in_that_order() -> None:
    figure = plot_difference(A, B, channels=[4, 0])
    assert labels(figure) == ["4", "0"]
    assert "2 of 6 channels" in facts(figure)
    assert "largest difference" not in facts(figure)


def test_signals_are_rows_of_bands_and_volumes_their_middle_slice() -> None:
    a, b = normal(2, 7), normal(2, 7, seed=3)
    (_, _, between), _ = cells(plot_difference(a, b, channels=[0, 1]), (24, 7), 2)
    assert (between == between[:1]).all()
    most = np.abs(b.astype(np.float64) - a).max()
    np.testing.assert_allclose(between[0], as_colours(b[0] - a[0], -most, most, COLOURS), atol=1 / 255)
    a, b = normal(2, 5, 4, 3), normal(2, 5, 4, 3, seed=3)
    volume, flat = plot_difference(a, b, channels=[0, 1]), plot_difference(a[:, 2], b[:, 2], channels=[0, 1])
    np.testing.assert_array_equal(np.ma.getdata(image(volume).get_array()), np.ma.getdata(image(flat).get_array()))
    assert "the middle slice of each volume" in facts(volume)
    assert "slice" not in facts(flat)


@pytest.mark.parametrize("shape", [(6,), (6, 1, 1)])
def test_numbers_are_bars_of_b_minus_a(shape) -> None:
    a = np.zeros(shape, np.float32)
    b = np.array([1, -4, 0.5, 3, 0, 2], np.float32).reshape(shape)
    figure = plot_difference(a, b, first=3)
    assert labels(figure) == ["3", "1", "3", "5"]  # the first is the end of the scale
    bars = [one for one in figure.axes[0].patches if isinstance(one, Rectangle)]
    assert [bar.get_height() for bar in bars] == pytest.approx([220 * 4 / 7, 220 * 3 / 7, 220 * 2 / 7])
    assert [bar.get_y() for bar in bars] == pytest.approx([220 * 3 / 7, 0, 220 / 7])  # downwards is less
    assert "B − A" in facts(figure)


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_in_one_alone_comes_first_and_is_marked() -> None:
    a, b = A.copy(), B.copy()
    b[2, 1, 1] = np.nan
    a[0, :, 0] = b[0, :, 0] = np.inf
    a[4, 0, 0] = b[4, 0, 0] = np.nan
    figure = plot_difference(a, b)
    assert labels(figure) == ["2", "1", "3", "5", "4", "0"]
    assert "NaN 5%" in words(figure)
    assert np.isfinite(np.ma.getdata(image(figure).get_array()).astype(float)).all()


def test_where_nothing_differs_that_is_said() -> None:
    figure = plot_difference(A, A.copy())
    assert "no difference" in facts(figure)
    assert labels(figure) == ["0", "1", "2", "3", "4", "5"]
    (_, _, between), *_ = cells(figure, (4, 5), 6)
    np.testing.assert_allclose(between, np.broadcast_to(COLOURS(0.5)[:3], (4, 5, 3)), atol=1 / 255)


@pytest.mark.parametrize("shape", [(3,), (3, 9), (12, 40, 70), (2, 3, 4, 5)])
def test_all_words_are_on_the_page(shape) -> None:
    figure = plot_difference(
        normal(*shape), normal(*shape, seed=2), title="block_" * 40, subtitle="a.onnx and " + "b" * 60
    )
    assert inside(drawn(figure))


@pytest.mark.parametrize(
    ("a", "b", "options", "words"),
    [
        (A, B[:, :3], {}, r"not \(6, 4, 5\) and \(6, 3, 5\)"),
        (np.float32(1), np.float32(2), {}, r"not \(\) and \(\)"),
        (A, B, {"channels": [6]}, r"there are channels 0 to 5, not \[6\]"),
        (A, B, {"channels": []}, "there are channels 0 to 5"),
    ],
)
def test_refusals(a, b, options, words) -> None:
    with pytest.raises(InputError, match=words):
        plot_difference(a, b, **options)
