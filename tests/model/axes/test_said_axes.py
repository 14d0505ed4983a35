"""What a caller says of a tensor's axes: read, fitted to its sizes, refused where it does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from protos import normal, parsed

from onnxviz import load
from onnxviz.errors import InputError, UnheededOptionError
from onnxviz.model.axes.arrangement import arranged, written
from onnxviz.model.axes.said_axes import SaidAxes, read_axes


@pytest.mark.parametrize(
    ("text", "sizes", "samples", "told", "extra"),
    [
        ("N,V,C,H,W", (1, 4, 3, 8, 8), 1, "N,V,C,H,W", 0),
        ("N*V,C,H,W", (6, 3, 8, 8), 2, "N*V,C,H,W", 0),
        ("V*N, C, H, W", (6, 3, 8, 8), 2, "V*N,C,H,W", 0),
        ("N,1+H*W,C", (2, 17, 5), 2, "N,1+H*W,C", 1),
        ("N,1+H2*W8,C", (1, 17, 5), 1, "N,1+H*W,C", 1),
        ("N,H2*W+3,C", (1, 13, 5), 1, "N,H*W+3,C", 3),
        ("C,D,H,W", (3, 4, 5, 6), 1, "C,D,H,W", 0),
    ],
)
def test_letters_are_fitted_to_sizes(text: str, sizes: tuple[int, ...], samples: int, told: str, extra: int) -> None:
    axes = SaidAxes.parse(text).of("t", sizes, samples)
    assert written(axes) == told
    assert arranged(axes).extra == extra


@pytest.mark.parametrize(
    "text", ["", "N,,C", "N,X", "n,c,h,w", "N C H W", "N,C-1", "N,H*", "1+,C", "N,V,V", "NC,H", "²,C"]
)
def test_what_cannot_be_read_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(InputError, match=r"write N,V,C,H,W|stands once"):
        SaidAxes.parse(text)


@pytest.mark.parametrize(
    ("text", "sizes", "samples"),
    [
        ("N,1+H*W,C", (1, 16, 5), 1),
        ("N*V,C,H,W", (5, 3, 8, 8), 2),
        ("N,C,H4,W", (1, 3, 5, 5), 1),
        ("N,9+H,C", (1, 9, 2), 1),
    ],
)
def test_sizes_that_cannot_be_so_are_refused(text: str, sizes: tuple[int, ...], samples: int) -> None:
    with pytest.raises(InputError, match=r"cannot be what was said of it"):
        SaidAxes.parse(text).of("t", sizes, samples)


def test_options_name_what_they_are_of() -> None:
    assert read_axes(["a=b=N,C", "x=N,H"]) == {"a=b": "N,C", "x": "N,H"}
    for wrong in ("N,C,H,W", "=N,C"):
        with pytest.raises(InputError, match=r"write NAME=N,V,C,H,W"):
            read_axes([wrong])


def test_what_the_graph_tells_need_not_be_said():
    made = parsed("g (float[n,3,8,8] x) => (float[n,2,8,8] y) { y = Conv (x, w) }", w=normal(2, 3, 1, 1))
    with pytest.raises(UnheededOptionError, match="the graph tells that input 'x' is NCHW: leave out axes"):
        load(made).with_axes({"x": "N, C, H, W"})


def test_what_is_said_of_a_model_is_said_of_another_that_shares_what_is_known():
    """What hangs on the axes is worked out anew: the same as where it is said before anything is asked."""
    made = parsed(
        "g (float[n,2,3,8,8] x) => (float[n,2,192] y) { s = Sub (x, mean) r = Div (s, deviation)"
        " y = Reshape (r, shape) }",
        mean=np.full((1, 1, 3, 1, 1), 0.5, np.float32),
        deviation=np.full((1, 1, 3, 1, 1), 0.25, np.float32),
        shape=np.array([0, 2, 192]),
    )
    model = load(made)
    before = ([port.layout for port in model.inputs], model.input_ranges, model.expected_range)
    told = model.with_axes({"x": "N,V,C,H,W"})
    assert told.layers is model.layers
    assert [port.layout for port in told.inputs] == ["NVCHW"] != before[0]
    fresh = load(made).with_axes({"x": "N,V,C,H,W"})
    assert told.input_ranges != before[1]
    assert (told.input_ranges, told.expected_range) == (fresh.input_ranges, fresh.expected_range)
    assert ([port.layout for port in model.inputs], model.input_ranges, model.expected_range) == before
    more = told.with_axes({"r": "N,V,C,H,W"})
    assert more.said_axes == {"x": "N,V,C,H,W", "r": "N,V,C,H,W"}
    assert (told.said_axes, model.said_axes) == ({"x": "N,V,C,H,W"}, {})
