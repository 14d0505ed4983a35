"""Top classes: counted by loops beside, for scores, single logits, masks, ties and NaN."""

from __future__ import annotations

import json

import numpy as np
import pytest
from protos import normal

from onnxviz.comparison.top_class import TopClasses
from onnxviz.model.scores import Scores


def scores(axis: int = 1, names: tuple[str, ...] = ()) -> Scores:
    return Scores("y", "y", "", axis, names, False)


def counted(a, b, one: Scores | None = None, other: Scores | None = None, label: str = "a.png") -> TopClasses:
    found = TopClasses(one or scores(), other or one or scores())
    found.take(label, np.asarray(a, np.float32), np.asarray(b, np.float32))
    return found


def test_samples_are_counted_and_flips_named() -> None:
    names = ("ant", "bee", "cat")
    found = counted([[1, 5, 2], [7, 1, 0]], [[1, 2, 4.5], [6, 5, 5]], scores(names=names)).agreement()
    assert (found.agreeing, found.total, found.positions, found.share) == (1, 2, False, 0.5)
    (flip,) = found.flips
    assert (flip.sample, flip.a, flip.b) == ("a.png[0]", (1, "bee", 3.0), (2, "cat", 2.5))
    assert counted([[1, 5, 2]], [[1, 2, 4.5]]).agreement().flips[0].sample == "a.png"


@pytest.mark.parametrize(
    ("names", "shown"),
    [((), ("", "")), (("one", "two"), ("", "")), (("a", "b", "c", "d"), ("", "")), (("a", "b", "c"), ("b", "c"))],
)
def test_names_that_do_not_fit_are_left_out(names, shown) -> None:
    (flip,) = counted([[1, 5, 2]], [[1, 2, 4]], scores(names=names)).agreement().flips
    assert (flip.a[1], flip.b[1]) == shown


def test_names_of_the_other_model_serve_where_the_first_has_none() -> None:
    (flip,) = counted([[1, 5]], [[3, 2]], scores(), scores(names=("no", "yes"))).agreement().flips
    assert (flip.a[1], flip.b[1]) == ("yes", "no")


def test_of_a_tie_the_first_class_counts_in_both() -> None:
    assert counted([[3, 3, 1]], [[3, 2.9, 1]]).agreement().agreeing == 1
    (flip,) = counted([[3, 3, 1]], [[2.9, 3, 1]]).agreement().flips
    assert (flip.a[0], flip.a[2]) == (0, 0.0)  # its margin says that it is one


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_logit_is_of_class_1(shape) -> None:
    a, b = np.array([2.0, -1, 0.5, -3]).reshape(shape), np.array([1.0, 1, -0.25, -1]).reshape(shape)
    found = counted(a, b, scores(names=("no", "yes"))).agreement()
    assert (found.agreeing, found.total) == (2, 4)
    assert [(flip.sample, flip.a[:2], flip.b[:2]) for flip in found.flips] == [
        ("a.png[1]", (0, "no"), (1, "yes")),
        ("a.png[2]", (1, "yes"), (0, "no")),
    ]
    assert found.flips[1].a[2] == 1.0  # from −0.5 to 0.5
    only = counted(a, b, scores(names=("cat",))).agreement().flips
    assert [(flip.a[1], flip.b[1]) for flip in only] == [("", "cat"), ("cat", "")]


@pytest.mark.parametrize("axis", [1, -1])
def test_positions_of_masks(axis) -> None:
    """Classes first in one model, last in the other."""
    a, b = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=9)
    agreeing = sum(
        max(range(3), key=lambda c: a[n, c, y, x]) == max(range(3), key=lambda c: b[n, c, y, x])
        for n in range(2) for y in range(4) for x in range(5)
    )  # fmt: skip
    assert 0 < agreeing < 40
    other = np.moveaxis(b, 1, axis)
    found = counted(a, other, scores(1), scores(axis)).agreement()
    assert (found.agreeing, found.total, found.positions, found.flips) == (agreeing, 40, True, ())
    assert found.as_dict()["of"] == "positions"


def test_a_mask_of_one_logit() -> None:
    a, b = normal(1, 1, 6, 5), normal(1, 1, 6, 5, seed=9)
    assert counted(a, b).agreement().agreeing == int(((a > 0) == (b > 0)).sum())


def test_unequal_classes_are_not_compared() -> None:
    found = counted(normal(1, 5), normal(1, 6))
    assert found.agreement() is None
    assert found.unequal == "top classes are not compared: A scores 5 classes at 1 positions, B 6 at 1"
    found = counted(normal(1, 5, 2, 2), normal(1, 5, 4, 4))
    assert "5 classes at 4 positions, B 5 at 16" in found.unequal


def test_a_score_that_is_nan_is_no_agreement() -> None:
    nan = np.nan
    assert counted([[3, 1, 2]], [[nan, nan, nan]]).agreement().agreeing == 0  # argmax takes NaN for the first
    found = counted([[1, 3, 2]], [[nan, 3, 2]]).agreement()
    assert found.agreeing == 0
    json.dumps(found.as_dict(), allow_nan=False)
    both = counted([[nan, 3, 2], [1, 2, 3]], [[nan, 3, 2], [1, 2, 3]]).agreement()
    assert (both.agreeing, both.total, both.unknown, both.as_dict()["nan"]) == (1, 2, 1, 1)
    assert [(flip.a[0], flip.b[0]) for flip in both.flips] == [(-1, -1)]
    masks = np.zeros((1, 3, 2, 2))
    masks[0, 1, 0, 0] = nan
    positions = counted(masks, masks).agreement()
    assert (positions.agreeing, positions.total, positions.unknown) == (3, 4, 1)


def test_nothing_taken_is_no_agreement() -> None:
    assert TopClasses(scores(), scores()).agreement() is None
