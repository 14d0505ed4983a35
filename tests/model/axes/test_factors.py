"""Factors of axes: however a tensor is rearranged, what its axes are made of leads back to the picture it was."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxviz.model.axes.arrangement import arranged, entries_of, written
from onnxviz.model.axes.axis_trace import input_axes
from onnxviz.model.axes.factors import (
    CONSTANT,
    UNTOLD,
    axis_of,
    cut,
    fresh,
    in_a_row,
    joined,
    kinds,
    length,
    regrouped,
)

LETTERS, SIZES = "NVCHW", (2, 3, 4, 4, 6)


def rearranged(rng: np.random.Generator, array: np.ndarray, steps: int) -> tuple[np.ndarray, tuple]:
    """An array of 0, 1, 2, … after random steps in numpy, and what is known of its axes."""
    axes = input_axes(LETTERS, SIZES)
    for _ in range(steps):
        sizes = list(array.shape)
        place = int(rng.integers(len(sizes)))
        kind = rng.choice(["transpose", "merge", "split", "roll"])
        if kind == "transpose":
            order = rng.permutation(len(sizes))
            array, axes = array.transpose(order), tuple(axes[place] for place in order)
            continue
        if kind == "roll":
            by = int(rng.integers(sizes[place]))
            if by == 0 or len(axes[place]) > 1:
                continue
            rest = sizes[place] - by
            rolled = in_a_row([cut(axes[place], by, rest), cut(axes[place], 0, by)])
            if UNTOLD in kinds(rolled):
                continue
            array, axes = np.roll(array, -by, place), (*axes[:place], rolled, *axes[place + 1 :])
            continue
        if kind == "merge" and place + 1 < len(sizes):
            sizes[place : place + 2] = [sizes[place] * sizes[place + 1]]
        elif kind == "split":
            divisors = [size for size in range(2, sizes[place]) if sizes[place] % size == 0]
            if not divisors or len(sizes) > 7:
                continue
            outer = int(rng.choice(divisors))
            sizes[place : place + 1] = [outer, sizes[place] // outer]
        array, axes = array.reshape(sizes), regrouped(axes, sizes)
    return array, axes


def followed_chains() -> tuple[int, int]:
    """How many of 300 random chains lead back, and how many could not be told."""
    back = untold = 0
    source = np.arange(math.prod(SIZES)).reshape(SIZES)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        array, axes = rearranged(rng, source, int(rng.integers(1, 9)))
        assert tuple(map(length, axes)) == array.shape
        try:
            arrangement = arranged(axes)
        except ValueError:
            untold += 1
            continue
        for sample in range(SIZES[0]):
            found = arrangement.of(array, sample)
            assert [part.kind for part in arrangement.parts] == ["V"]
            # Channels have no order of their own: each is a map.
            expected = source[sample][[int(label.removeprefix("view ")) for label in arrangement.parts[0].labels]]
            assert found.shape == expected.shape
            for own, true in zip(found, expected, strict=True):
                assert sorted(map(tuple, own.reshape(4, -1))) == sorted(map(tuple, true.reshape(4, -1))), (seed, axes)
        back += 1
    return back, untold


def test_random_rearrangements_lead_back_or_are_untold_but_never_elsewhere():
    back, untold = followed_chains()
    assert back > 200, (back, untold)


def test_positions_split_into_windows_come_together_again():
    axes = input_axes("NHWC", (1, 8, 8, 3))
    windows = regrouped(axes, (1, 2, 4, 2, 4, 3))
    windows = tuple(windows[place] for place in (0, 1, 3, 2, 4, 5))
    tokens = regrouped(windows, (4, 16, 3))
    assert [kinds(axis) for axis in tokens] == ["HW", "HW", "C"]
    source = np.arange(192).reshape(1, 8, 8, 3)
    array = source.reshape(1, 2, 4, 2, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(4, 16, 3)
    assert np.array_equal(arranged(tokens).of(array), source[0].transpose(2, 0, 1))


def test_cells_whose_inside_was_mixed_are_a_coarse_grid_but_a_place_in_every_window_is_none():
    """As in a vision transformer that cuts the picture by a reshape and multiplies each patch by one matrix."""
    cells = regrouped(input_axes("NCHW", (1, 3, 8, 12)), (1, 3, 2, 4, 3, 4))
    patches = regrouped(tuple(cells[place] for place in (0, 2, 4, 3, 5, 1)), (1, 6, 48))
    mixed = (patches[0], patches[1], axis_of("C", 5))
    array = np.arange(30).reshape(1, 6, 5)
    assert arranged(mixed).positions == "HW"
    assert np.array_equal(arranged(mixed).of(array), array[0].T.reshape(5, 2, 3))
    with pytest.raises(ValueError, match="which of several axes counts its rows"):
        arranged((patches[0], cells[3], axis_of("C", 5)))


def test_channels_put_into_positions_are_more_positions():
    """As `PixelShuffle` is written by a reshape; flattened channels and positions, alone, are those that they were."""
    shuffled = regrouped(input_axes("NCHW", (1, 8, 3, 5)), (1, 2, 2, 2, 3, 5))
    shuffled = regrouped(tuple(shuffled[place] for place in (0, 1, 4, 2, 5, 3)), (1, 2, 6, 10))
    array = np.arange(120).reshape(1, 2, 6, 10)
    assert np.array_equal(arranged(shuffled).of(array), array[0])
    flat = regrouped(input_axes("NHWC", (1, 3, 5, 2)), (1, 30))
    assert np.array_equal(arranged(flat).of(np.arange(30)[None]), np.arange(30).reshape(3, 5, 2).transpose(2, 0, 1))


def test_a_class_token_is_left_out_and_counted():
    picture = regrouped(input_axes("NCHW", (1, 5, 2, 3)), (1, 5, 6))
    tokens = (picture[0], in_a_row([axis_of(CONSTANT, 1), picture[2]]), picture[1])
    found = arranged(tokens)
    array = np.arange(35).reshape(1, 7, 5)
    assert found.extra == 1
    assert np.array_equal(found.of(array), array[0, 1:].T.reshape(5, 2, 3))
    assert written(tokens) == "N,1+H*W,C"
    assert kinds(cut(tokens[1], 1, 6)) == "HW"
    assert length(cut(tokens[1], 0, 1)) == 1


def test_what_counts_the_same_twice_or_is_not_known_is_untold():
    positions = axis_of("H", 4)
    for axes in (
        (axis_of("N", 1), positions, positions),  # attention: queries and keys
        (axis_of("N", 1), axis_of(UNTOLD, 3), positions),
        (axis_of("N", 1), axis_of("C", 3), regrouped((axis_of("H", 8),), (2, 4))[1]),  # one window of several
    ):
        with pytest.raises(ValueError, match=r"its axis of 3 counts|which of several axes counts its rows"):
            arranged(axes)


def test_joined_axes_take_what_tells_more():
    tokens, features = (fresh("H", 2), fresh("W", 3)), axis_of("C", 6)
    assert joined(tokens, features) == joined(features, tokens) == tokens
    assert joined((), tokens) == joined(tokens, ()) == tokens
    assert joined(axis_of(CONSTANT, 6), features) == features
    assert kinds(joined(axis_of("H", 6), axis_of("W", 6))) == UNTOLD


def test_entries_of_a_folded_batch():
    found = entries_of((fresh("N", 2), fresh("T", 3)))
    assert found is not None
    assert (found.samples, found.labels[:3], found.plural) == (
        (0, 0, 0, 1, 1, 1),
        ("frame 0", "frame 1", "frame 2"),
        "frames",
    )
    stacked = entries_of((fresh("S", 2), fresh("N", 2)))
    assert stacked is not None
    assert stacked.samples == (0, 1, 0, 1)
    assert stacked.labels == ("branch 0", "branch 0", "branch 1", "branch 1")
    assert entries_of((fresh("N", 4),)) is None
    assert entries_of((fresh("N", 2), fresh("H", 4))) is None
