"""The list of nodes to leave out, for costs that are made up: which layers, and what stands around each."""

from __future__ import annotations

import math

import numpy as np
import pytest
from protos import normal, parsed

import onnxviz
from onnxviz.comparison.comparison import Alone
from onnxviz.comparison.exclusion import exclusion
from onnxviz.comparison.pairing import Pairing

# Each convolution is read another way: through a Pad and a MaxPool, by two branches, and by nothing.
TEXT = """g (float[n,3,16,16] x) => (y, sizes) {
[first] a = Conv (x, v1)
[normal] b = BatchNormalization (a, s, o, o, s)
[active] c = Relu (b)
[measured] sizes = Shape (c)
[padded] p = Pad (c, pads)
[pooled] q = MaxPool <kernel_shape = [2, 2]> (p)
[second] d = Conv (q, v2)
[left] e = Sigmoid (d)
[joined] f = Concat <axis = 1> (d, e)
[third] y = Conv (f, v3)
}"""


def layers() -> dict[str, object]:
    proto = parsed(
        TEXT, v1=normal(4, 3, 3, 3), v2=normal(5, 4, 3, 3, seed=2), v3=normal(2, 10, 1, 1, seed=3),
        s=np.ones(4, np.float32), o=np.zeros(4, np.float32), pads=np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    )  # fmt: skip
    model = onnxviz.load(proto)
    return {one.layer_a.node: one for one in Pairing.of(model, model, "all", None, "activation").layers}


def listed(costs: dict[str, float]) -> tuple[tuple[str, ...], float] | None:
    """The list and its share, for the answer's ratio in dB with each layer exchanged."""
    pairs = layers()
    found = exclusion([(pairs[name], Alone(0.0, None, ratio)) for name, ratio in costs.items()], "option")
    if found is None:
        return None
    assert found.option == "option"
    return found.nodes, found.share


AROUND = {
    "first": ("first", "normal", "active", "padded", "pooled", "second"),
    "second": ("second", "left", "joined"),
    "third": ("third",),
}


@pytest.mark.parametrize("name", AROUND)
def test_a_layer_is_listed_with_what_makes_and_reads_its_output(name) -> None:
    """Its normalisation and activation; through what only moves values, to the operator that reads them; no further."""
    others = dict.fromkeys(AROUND, math.inf)
    assert listed({**others, name: 10.0}) == (AROUND[name], 1.0)


def test_the_dearest_come_first_until_nine_tenths_are_listed() -> None:
    """Parts of the noise: 10⁻¹, 10⁻² and 10⁻³ of the signal; the first has 90.1 % of their sum."""
    assert listed({"third": 30.0, "second": 20.0, "first": 10.0}) == (AROUND["first"], pytest.approx(0.1 / 0.111))
    nodes, share = listed({"first": 20.0, "second": 10.0, "third": 15.0})
    assert nodes == (*AROUND["second"], "third")
    assert share == pytest.approx((10**-1 + 10**-1.5) / (10**-1 + 10**-1.5 + 10**-2))


def test_what_makes_the_answer_not_finite_stands_alone() -> None:
    assert listed({"first": 3.0, "second": math.nan, "third": 40.0}) == (AROUND["second"], 1.0)


def test_what_costs_nothing_is_not_listed() -> None:
    assert listed(dict.fromkeys(AROUND, math.inf)) is None
    assert listed({}) is None
