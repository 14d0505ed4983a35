"""Axes of maps: how a map is spread over those of the input, and what its parts are called."""

from __future__ import annotations

import numpy as np
import pytest
from protos import normal

from onnxviz.errors import InputError
from onnxviz.explanations.map_axes import MapAxes
from onnxviz.inputs.interpolate import resized
from onnxviz.model.axes.arrangement import PartAxis

FRAMES, VIEWS = PartAxis.numbered("T", 3), PartAxis.numbered("V", 2)
CLIP = MapAxes((FRAMES,), "HW")


def test_a_map_without_parts_is_interpolated_alone():
    heat = normal(4, 5)
    assert np.array_equal(MapAxes((), "HW").over(heat, (8, 9), MapAxes((), "HW")), resized(heat, (8, 9)))


def test_parts_that_both_have_stay_those_of_the_map_alone_are_added_and_others_get_it_each():
    heat = normal(3, 4, 5)
    assert np.array_equal(CLIP.over(heat, (3, 8, 9), CLIP), resized(heat, (8, 9)))
    assert np.allclose(CLIP.over(heat, (8, 9), MapAxes((), "HW")), resized(heat.sum(0), (8, 9)), atol=1e-6)
    spread = MapAxes((), "HW").over(heat[0], (3, 8, 9), CLIP)
    assert all(np.array_equal(one, resized(heat[0], (8, 9))) for one in spread)
    both = MapAxes((VIEWS, FRAMES), "HW")
    assert np.array_equal(CLIP.over(heat, (2, 3, 4, 5), both), np.stack([heat, heat]))
    swapped = MapAxes((FRAMES, VIEWS), "HW").over(normal(3, 2, 4, 5), (2, 3, 4, 5), both)
    assert np.array_equal(swapped, normal(3, 2, 4, 5).transpose(1, 0, 2, 3))


def test_the_map_of_one_frame_lies_on_that_frame():
    heat = np.abs(normal(4, 5)) + 1
    spread = MapAxes((), "HW", frozenset([("T", 2)])).over(heat, (3, 8, 9), CLIP)
    assert not spread[:2].any()
    assert np.array_equal(spread[2], resized(heat, (8, 9)))


def test_labels_count_from_0_in_order():
    assert MapAxes((), "HW").labels == ()
    assert CLIP.labels == ("frame 0", "frame 1", "frame 2")
    assert MapAxes((VIEWS, FRAMES), "HW").labels[:4] == (
        "view 0, frame 0",
        "view 0, frame 1",
        "view 0, frame 2",
        "view 1, frame 0",
    )
    assert (CLIP.letters, MapAxes((), "DHW").letters) == ("THW", "DHW")


def test_along_positions_that_the_map_has_not_it_is_constant():
    heat = normal(5)
    stretched, alone = MapAxes((), "W").over(heat, (4, 9), MapAxes((), "HW")), resized(heat, (9,))
    # A value is a mean of two; how its two products and their sum are rounded depends on the kernel for the shape.
    rounding = 4 * np.finfo(alone.dtype).eps * np.abs(heat).max()
    assert stretched.shape == (4, 9)
    assert np.abs(stretched - alone).max() <= rounding
    assert np.ptp(stretched, axis=0).max() <= rounding
    planes = MapAxes((), "DW").over(normal(3, 5), (3, 4, 5), MapAxes((), "DHW"))
    assert all(np.array_equal(planes[:, row], normal(3, 5)) for row in range(4))
    frames = MapAxes((FRAMES,), "W").over(normal(3, 5), (3, 4, 5), CLIP)
    assert all(np.array_equal(frames[:, row], normal(3, 5)) for row in range(4))


def test_positions_are_told_by_their_letters_not_by_their_places():
    heat = normal(4, 5)
    assert np.array_equal(MapAxes((), "HW").over(heat, (5, 4), MapAxes((), "WH")), heat.T)


@pytest.mark.parametrize(("other", "size"), [("W", (9,)), ("D", (9,)), ("", (20,)), ("", (4, 5, 6)), ("DW", (4, 5))])
def test_a_map_with_positions_that_the_other_has_not_is_not_laid_on_it(other: str, size: tuple[int, ...]):
    axes = MapAxes((), other)
    assert not MapAxes((), "HW").lies_on(len(size), axes)
    with pytest.raises(InputError, match=r"a map of 4x5 \(HW\) cannot be laid on"):
        MapAxes((), "HW").over(normal(4, 5), size, axes)
