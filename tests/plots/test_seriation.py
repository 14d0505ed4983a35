"""Orders that put alike rows side by side, beside scipy's clustering where it is there."""

import numpy as np
import pytest

from onnxviz.plots.seriation import alike_order

RNG = np.random.default_rng(3)


def contiguous(groups):
    """Whether each group is one run."""
    return (np.diff(groups) != 0).sum() == len(np.unique(groups)) - 1


@pytest.mark.parametrize("count", [2, 5, 9])
def test_planted_groups_become_runs(count):
    planted = RNG.permutation(np.repeat(np.arange(count), 12))
    rows = RNG.normal(size=(count, 30))[planted] + 0.2 * RNG.normal(size=(len(planted), 30))
    rows *= RNG.uniform(0.01, 100, (len(planted), 1))  # lengths do not count
    order = alike_order(rows)
    assert sorted(order) == list(range(len(planted)))
    assert contiguous(planted[order])


def test_every_cluster_of_average_linkage_is_a_run():
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    distance = pytest.importorskip("scipy.spatial.distance")
    rows = RNG.normal(size=(60, 7))
    place = np.argsort(alike_order(rows))
    tree = hierarchy.linkage(distance.pdist(rows, "cosine"), "average")
    members = {number: [number] for number in range(60)}
    for number, (one, other, *_) in enumerate(tree, 60):
        members[number] = members[int(one)] + members[int(other)]
        places = place[members[number]]
        assert np.ptp(places) == len(places) - 1


def test_ends_that_are_most_alike_meet():
    angles = np.radians([0, 20, 41, 60])  # on an arc the only order without a jump
    order = alike_order(np.column_stack([np.cos(angles), np.sin(angles)])[[2, 0, 3, 1]])
    assert np.array([2, 0, 3, 1])[order].tolist() in ([0, 1, 2, 3], [3, 2, 1, 0])


def test_rows_of_zeros_come_last_and_what_is_not_finite_counts_as_zero():
    rows = np.array([[0, 0], [1, np.nan], [0, 0], [1e300, 1e300], [-1e-300, 0], [2, 0.1]])
    order = alike_order(rows).tolist()
    assert order[4:] == [0, 2]
    assert abs(order.index(1) - order.index(5)) == 1
    assert alike_order(np.zeros((3, 2))).tolist() == [0, 1, 2]
    assert alike_order(np.ones((1, 2))).tolist() == [0]
