"""Seriation: an order of rows that puts those that are alike side by side."""

import numpy as np
from numpy.typing import NDArray


def alike_order(rows: NDArray[np.floating]) -> NDArray[np.intp]:
    """Returns the numbers of all rows, those that are alike side by side; rows of zeros come last.

    Rows are alike as the cosine of the angle between them says. They are clustered by average linkage (Sokal &
    Michener 1958), along chains of nearest neighbours (Murtagh 1983), and two clusters meet with those ends that are
    most alike (Gruvaeus & Wainer 1972).

    Args:
        rows: (n, length); what is not finite counts as 0.
    """
    wide = np.where(np.isfinite(rows), rows, 0).astype(np.float64)
    largest = np.abs(wide).max(axis=1, keepdims=True, initial=0)
    wide = np.divide(wide, largest, out=wide, where=largest > 0)  # squares neither overflow nor vanish
    norms = np.linalg.norm(wide, axis=1)
    there = np.flatnonzero(norms)
    unit = (wide[there] / norms[there, None]).astype(np.float32)
    return np.concatenate([there[_leaves(unit @ unit.T)], np.flatnonzero(norms == 0)]).astype(np.intp)


def _leaves(alike: NDArray[np.float32]) -> list[int]:
    """The leaves of the tree of average linkage in order; `alike` is (n, n), symmetric."""
    count = len(alike)
    if not count:
        return []
    apart = 1 - alike
    np.fill_diagonal(apart, np.inf)
    sizes, leaves = np.ones(count), [[number] for number in range(count)]
    alive = np.ones(count, bool)
    chain: list[int] = []
    for _ in range(count - 1):
        if not chain:
            chain = [int(alive.argmax())]
        while True:
            row = apart[chain[-1]]
            nearest = int(row.argmin())
            if len(chain) > 1 and row[chain[-2]] <= row[nearest]:
                break  # the two last are each other's nearest
            chain.append(nearest)
        gone, kept = chain.pop(), chain.pop()
        joined = (sizes[kept] * apart[kept] + sizes[gone] * apart[gone]) / (sizes[kept] + sizes[gone])
        apart[kept], apart[:, kept] = joined, joined
        apart[gone], apart[:, gone] = np.inf, np.inf
        apart[kept, kept] = np.inf
        sizes[kept] += sizes[gone]
        alive[gone] = False
        leaves[kept], leaves[gone] = _met(leaves[kept], leaves[gone], alike), []
    return next(one for one in leaves if one)


def _met(one: list[int], other: list[int], alike: NDArray[np.float32]) -> list[int]:
    """Two runs of leaves, turned so that the ends that are most alike meet."""
    ends = alike[np.ix_([one[-1], one[0]], [other[0], other[-1]])]
    turn, flip = divmod(int(ends.argmax()), 2)
    return (one[::-1] if turn else one) + (other[::-1] if flip else other)
