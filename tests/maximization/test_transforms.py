"""Movements of pictures, and their adjoints."""

import numpy as np
import pytest
from adjoints import SIZES, assert_adjoint, noise
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxviz.errors import InputError
from onnxviz.maximization.transforms import Crop, Jitter, Pad, Rotate, Scale, draw, margin, standard, usual_jitter

MOVES = st.lists(
    st.one_of(
        st.integers(0, 5).map(Jitter),
        st.floats(0.5, 1).flatmap(lambda low: st.floats(low, 2).map(lambda high: Scale(low, high))),
        st.floats(0, 180).map(Rotate),
        st.floats(0, 1).map(Pad),
        st.floats(0.05, 1).flatmap(lambda low: st.floats(low, 1).map(lambda high: Crop(low, high))),
    ),
    max_size=4,
)


@given(moves=MOVES, size=SIZES, seed=st.integers(0, 99), more=st.integers(0, 3))
@settings(max_examples=examples(50, 150), deadline=None)
def test_movements_have_their_adjoints(moves, size, seed, more):
    source = tuple(side + 2 * more for side in size)
    warp = draw(moves, np.random.default_rng(seed), size, source)
    constant = warp.forward(np.zeros((1, 1, *source), np.float32))  # what comes in from outside is not linear
    x, y = noise(2, 3, *source, seed=seed), noise(2, 3, *size, seed=seed + 1)
    assert_adjoint(lambda x: warp.forward(x) - constant, warp.adjoint, x, y)


@given(moves=MOVES, size=SIZES, seed=st.integers(0, 99))
@settings(max_examples=examples(20, 60), deadline=None)
def test_movements_average_and_stay_in_range(moves, size, seed):
    picture = np.random.default_rng(seed).random((1, 2, *size), np.float32)
    warp = draw(moves, np.random.default_rng(seed), size)
    moved = warp.forward(picture)
    assert moved.min() > -1e-6
    assert moved.max() < 1 + 1e-6
    if warp.fill is None:
        np.testing.assert_allclose(warp.forward(np.ones_like(picture)), 1, atol=1e-6)


def test_jitter_shifts_a_tile_and_copies_no_pixel():
    picture = noise(1, 1, 6, 5)
    seen = set()
    for seed in range(60):
        warp = draw([Jitter(2)], np.random.default_rng(seed), (6, 5))
        down, across = (int(step) for step in warp.matrix[:2, 2])
        np.testing.assert_array_equal(warp.forward(picture), np.roll(picture, (-down, -across), (2, 3)))
        seen.add((down, across))
    assert {step for pair in seen for step in pair} == {-2, -1, 0, 1, 2}


def test_crops_lie_inside_and_are_of_the_sizes_that_are_asked_for():
    """Of a picture whose values are its places, corners say where a crop lies."""
    size = (41, 31)
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij")).astype(np.float32)[None]
    shares, lows = [], []
    for seed in range(80):
        seen = draw([Crop(0.4, 0.8)], np.random.default_rng(seed), size).forward(places)[0]
        first, last = seen[:, 0, 0], seen[:, -1, -1]
        assert (first >= -1e-3).all()
        assert (last <= np.array(size) - 1 + 1e-3).all()
        share = (last - first) / (np.array(size) - 1)
        assert share[0] == pytest.approx(share[1], abs=1e-4)
        shares.append(share[0])
        lows.append(first[0] / (40 * (1 - share[0])))
    assert 0.4 <= min(shares) < 0.45
    assert 0.75 < max(shares) <= 0.8
    assert min(lows) < 0.2
    assert max(lows) > 0.7


def test_a_window_sees_the_middle_of_a_larger_picture():
    picture = noise(1, 2, 10, 9)
    np.testing.assert_array_equal(
        draw([], np.random.default_rng(0), (6, 5), (10, 9)).forward(picture), picture[..., 2:8, 2:7]
    )
    turned = draw([Rotate(1e-9)], np.random.default_rng(0), (6, 5), (10, 9)).forward(picture)
    np.testing.assert_allclose(turned, picture[..., 2:8, 2:7], atol=1e-6)
    assert margin(standard(16)) == 16
    assert margin([Scale(), Rotate()]) == 0


def test_rotation_and_scale_are_about_the_middle():
    picture = np.zeros((1, 1, 9, 9), np.float32)
    picture[..., 4, 4] = 1
    picture[..., 4, 6] = 0.5
    for move in (Rotate(90), Scale(2, 2)):
        assert draw([move], np.random.default_rng(3), (9, 9)).forward(picture)[0, 0, 4, 4] == pytest.approx(1)
    enlarged = draw([Scale(2, 2)], np.random.default_rng(3), (9, 9)).forward(picture)
    assert enlarged[0, 0, 4, 8] == pytest.approx(0.5)


def test_a_quarter_turn_is_a_quarter_turn():
    picture = noise(1, 1, 5, 5)
    warp = draw([], np.random.default_rng(0), (5, 5))
    quarter = type(warp)((5, 5), (5, 5), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    np.testing.assert_allclose(quarter.forward(picture)[0, 0], np.rot90(picture[0, 0], -1), atol=1e-6)


def test_outside_is_what_pad_says_else_the_picture_goes_on_round():
    picture = np.ones((1, 1, 4, 4), np.float32)
    far = [Jitter(0), Scale(0.5, 0.5)]
    assert draw(far, np.random.default_rng(0), (4, 4)).forward(picture).min() == pytest.approx(1)
    padded = draw([*far, Pad(0.25)], np.random.default_rng(0), (4, 4)).forward(picture)
    assert padded[0, 0, 0, 0] == pytest.approx(0.25)
    assert padded[0, 0, 2, 2] == pytest.approx(1)


def test_chained_movements_are_sampled_once():
    """Turned there and back, nothing is blurred."""
    warp = draw([], np.random.default_rng(0), (7, 7))
    turn = draw([Rotate(30)], np.random.default_rng(1), (7, 7)).matrix
    picture = noise(1, 1, 7, 7)
    back = type(warp)((7, 7), (7, 7), turn @ np.linalg.inv(turn)).forward(picture)
    np.testing.assert_allclose(back, picture, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "pixels"), [((224, 224), 16), ((96, 96), 7), ((32, 48), 2), ((5,), 1), ((600, 400), 16)]
)
def test_jitter_is_less_for_small_pictures(size, pixels):
    assert usual_jitter(size) == pixels


def test_impossible_transforms_are_refused():
    with pytest.raises(InputError, match="-1"):
        Jitter(-1)
    with pytest.raises(InputError, match=r"1\.5"):
        Scale(1.5, 1)


def test_standard_transforms_hold_still_what_they_should():
    assert [type(move) for move in standard(7)] == [Jitter, Scale, Rotate]
