"""The plot of top patches: where regions, photos, frames and words are, and what they show."""

from types import SimpleNamespace

import numpy as np
import pytest
from figures import drawn, facts, image, inside, words
from matplotlib.patches import Circle, Rectangle

from onnxviz import plot_patches
from onnxviz.errors import InputError, SelectionError, UnheededOptionError

RNG = np.random.default_rng(0)
PHOTO = (40, 56)
VALUES = np.array([[3.0, 2.0, 0.0], [9.5, 0.25, -np.inf], [1.0, 0.5, 0.125]], np.float32)
SAMPLES = np.array([[0, 1, 2], [2, 0, -1], [1, 2, 0]])


class Patches:
    """Regions of 7 x 5 pixels, of three filters in three photos of 40 x 56; `frame` is what a unit sees of each."""

    layer, size, values, samples, labels = "conv2", (7, 5), VALUES, SAMPLES, ("a.png", "b.png", "c.png")

    def __init__(self, frame=(0.25, 0.5, 0.5, 0.75), crop=(7, 5)):
        self.frame, self.crop = frame, crop
        self.colours = [np.full((*PHOTO, 3), 10 * number + 5, np.uint8) for number in range(3)]

    def pictures(self, channels, longest):
        rows = [[np.full((*self.crop, 3), 100 + 10 * c + rank, np.uint8) for rank in range(3)] for c in channels]
        return SimpleNamespace(crops=np.array(rows), photos=dict(enumerate(self.colours)))

    def excited(self, channel, rank):
        return bool(SAMPLES[channel, rank] >= 0 and VALUES[channel, rank] != 0)

    def framed(self, channel, rank):
        return self.frame


def synthetic(*filters, channels=3):
    made = {number: (np.full((16, 16, channels), 0.2 * (number + 1), np.float32), number + 0.5) for number in filters}
    return SimpleNamespace(by_filter=lambda layer: made if layer == "conv2" else {})


def blocks(figure):
    """(top, left, height, width, grey) of each picture on the canvas, told by what is not transparent."""
    canvas = image(figure).get_array()
    found = []
    for grey in np.unique(canvas[canvas[..., 3] > 0][:, 0]):
        seen = (canvas[..., 0] == grey) & (canvas[..., 3] > 0)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], seen.any(axis=0).astype(int), [0]])))
        for left, right in zip(edges[::2], edges[1::2], strict=True):
            rows = seen[:, left:right].any(axis=1)
            starts = np.flatnonzero(np.diff(np.concatenate([[0], rows.astype(int), [0]])))
            for top, bottom in zip(starts[::2], starts[1::2], strict=True):
                assert seen[top:bottom, left:right].all()
                found.append((top, left, bottom - top, right - left, int(grey)))
    return sorted(found)


def test_each_region_stands_over_its_photo():
    figure = plot_patches(Patches(), filters=[0, 2])
    placed = blocks(figure)
    crops = [one for one in placed if one[4] >= 100]
    photos = [one for one in placed if one[4] < 100]
    assert [one[4] for one in crops] == [100, 101, 102, 120, 121, 122]
    assert {one[2:4] for one in crops} == {(112, 80)}, "7 x 5 pixels, each 16 x 16 times"
    # Region (0, 2) did not excite its filter: it has no photo.
    assert [one[4] for one in photos] == [5, 15, 15, 25, 5]
    under = {one[1]: one for one in crops[:3]}
    for top, left, height, width, _ in photos[:2]:
        assert top == under[left][0] + under[left][2] + 5
        assert (height, width) == (80, 112), "40 x 56 pixels, each twice"
    assert {"3", "2", "none", "1", "0.5", "0.125", "0"} <= set(words(figure))
    assert "below it: its photo, what the unit sees framed" in facts(figure)
    assert "rows: 2 of 3 filters" in facts(figure)


def test_frames_are_where_the_unit_sees():
    figure = plot_patches(Patches(), filters=[0])
    frames = [one for one in figure.axes[0].patches if isinstance(one, Rectangle)]
    photos = [one for one in blocks(figure) if one[4] < 100]
    assert len(frames) == 2 * len(photos) == 4
    for (top, left, height, width, _), first, second in zip(photos, frames[::2], frames[1::2], strict=True):
        for frame in (first, second):
            assert frame.get_x() == pytest.approx(left + 0.25 * width)
            assert frame.get_y() == pytest.approx(top + 0.5 * height)
            assert frame.get_width() == pytest.approx(0.25 * width)
            assert frame.get_height() == pytest.approx(0.25 * height)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ((-0.5, 0.5, 0.5, 1.5), (1, 40, 56, 79)),  # cut to the photo: left, top, right, bottom of 112 x 80 pixels
        ((0.5, 0.5, 0.5 + 1 / 56, 0.5 + 1 / 40), (53.5, 37.5, 60.5, 44.5)),  # a single pixel: large enough to be seen
    ],
)
def test_frames_stay_on_the_photo_and_can_be_seen(frame, expected):
    figure = plot_patches(Patches(frame), filters=[2])
    top, left, *_ = next(one for one in blocks(figure) if one[4] < 100)
    found = figure.axes[0].patches[0]
    ends = (found.get_x() - left, found.get_y() - top)
    right, bottom = ends[0] + found.get_width(), ends[1] + found.get_height()
    assert (*ends, right, bottom) == pytest.approx(expected)


def test_units_that_see_the_whole_photo_have_a_ring_at_their_centre():
    figure = plot_patches(Patches((-0.25, -1.0, 1.75, 1.0), crop=(40, 56)), filters=[2])
    assert [one[4] for one in blocks(figure)] == [120, 121, 122], "the photos, once"
    rings = figure.axes[0].patches
    assert [type(one) for one in rings] == [Circle] * 6
    top, left, height, width, _ = blocks(figure)[0]
    assert rings[0].center == pytest.approx((left + 0.75 * width, top + 4)), "half above the photo: at its edge"
    assert "a ring: the centre of what the unit sees" in facts(figure)
    assert height == 80


def test_the_synthetic_input_stands_beside_its_filter():
    figure = plot_patches(Patches(), synthetic=synthetic(2, 0))
    placed = blocks(figure)
    made = [one for one in placed if one[1] == 0]
    assert [one[4] for one in made] == [round(0.6 * 255), round(0.2 * 255)], "in the order in which they were made"
    assert all(one[2] == one[3] >= 150 for one in made)
    assert min(one[1] for one in placed if one not in made) > made[0][3]
    assert [word for word in words(figure) if word.startswith("mean")] == ["mean 2.5", "mean 0.5"]
    assert "left: the synthetic input, with the mean of its map" in facts(figure)
    both = plot_patches(Patches(), filters=[0, 1], synthetic=synthetic(0, channels=1))
    assert len([one for one in blocks(both) if one[1] == 0]) == 1, "of filter 1 there is none"


def test_what_is_refused():
    with pytest.raises(SelectionError, match="no synthetic input is of a filter of 'conv2'"):
        plot_patches(Patches(), synthetic=SimpleNamespace(by_filter=lambda layer: {}))
    with pytest.raises(UnheededOptionError, match="filters= says which are shown: leave out first="):
        plot_patches(Patches(), filters=[1], first=2)
    with pytest.raises(UnheededOptionError, match="those with a synthetic input are shown: leave out first"):
        plot_patches(Patches(), synthetic=synthetic(1), first=2)
    with pytest.raises(InputError, match="200 filters do not fit one figure of patches"):
        plot_patches(Patches(), filters=[1] * 200)
    made = SimpleNamespace(by_filter=lambda layer: {0: (np.zeros((8, 1)), 1.0)})
    with pytest.raises(InputError, match="is no picture to stand beside photos"):
        plot_patches(Patches(), synthetic=made)


@pytest.mark.parametrize("dpi", [100, 200])
def test_words_are_inside(dpi):
    figure = plot_patches(Patches(), synthetic=synthetic(0, 1, 2), title="layer/" * 40, subtitle="assumed " * 30)
    figure.set_dpi(dpi)
    assert inside(drawn(figure))
