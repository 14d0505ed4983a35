"""Selections of layers and lists of numbers, every form of the contract."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxviz.errors import SelectionError
from onnxviz.model.selection import numbers, select


@dataclass
class Stub:
    name: str
    output_shape: tuple | None = None


def stubs(*names):
    return [Stub(name) for name in names]


VGG = stubs(*(f"block{b}_conv{c}" for b, count in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, count + 1)))


def positions(selection, layers=VGG):
    chosen = select(selection, layers, "m.onnx")
    return [next(i for i, layer in enumerate(layers) if layer is one) for one in chosen]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("all", list(range(13))),
        ("first", [0]),
        ("last", [12]),
        ("first,last", [0, 12]),
        ("block3_conv1", [4]),
        ("block3_conv1,block1_conv2", [1, 4]),
        ("block*_conv1", [0, 2, 4, 7, 10]),
        ("block?_conv3", [6, 9, 12]),
        ("block[12]_*", [0, 1, 2, 3]),
        ("0,4,11", [0, 4, 11]),
        ("11,4,0", [0, 4, 11]),
        ("0-3", [0, 1, 2, 3]),
        ("2-2", [2]),
        ("0-2,1-3,2", [0, 1, 2, 3]),
        ("every:4", [0, 4, 8, 12]),
        ("every:1", list(range(13))),
        ("every:99", [0]),
        (" 1 , block1_conv1 ,, 3-4 ", [0, 1, 3, 4]),
        ("last,first,block2_*,5", [0, 2, 3, 5, 12]),
        (0, [0]),
        (-1, [12]),
        (["block1_conv1", 3, "5-6"], [0, 3, 5, 6]),
        (["0,2", "last"], [0, 2, 12]),
        ([0, -1], [0, 12]),
    ],
)
def test_every_form_of_the_contract(selection, expected):
    assert positions(selection) == expected


@pytest.mark.parametrize(
    ("names", "selection", "expected"),
    [
        (("a", "b", "0"), "0", [2]),
        (("a", "b", "0"), 0, [0]),
        (("a", "b", "0-1"), "0-1", [2]),
        (("a", "all", "b"), "all", [1]),
        (("a", "first", "b"), "first", [1]),
        (("a", "b", "every:2", "c"), "every:2", [2]),
        (("a", "b,c", "b", "c"), "b,c", [1]),
        (("a", "b,c", "b", "c"), ["b,c"], [1]),
        (("conv[0]", "conv0"), "conv[0]", [0]),
        (("a*", "ab", "ac"), "a*", [0]),
        (("", "a"), "a", [1]),
        (("Conv", "conv"), "conv", [1]),
        (("Conv", "conv"), "C*", [0]),
        (("layers/0/conv", "layers/1/conv"), "layers/*", [0, 1]),
        (("7", "8", "9"), "1", [1]),  # no layer of that name: a position
    ],
)
def test_a_name_wins_over_other_meanings(names, selection, expected):
    assert positions(selection, stubs(*names)) == expected


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([224, 224, 112, 112, 56, 56, 56], [1, 3, 6]),
        ([8], [0]),
        ([8, 8, 8], [2]),
        ([8, 4, 8, 8], [0, 1, 3]),  # a U-Net goes down and up
    ],
)
def test_block_ends_are_the_last_before_each_change_of_size(sizes, expected):
    layers = [Stub(f"c{i}", ("batch", 3 + i, size, size)) for i, size in enumerate(sizes)]
    assert positions("block-ends", layers) == expected
    assert positions("block-ends,0", layers) == sorted({0, *expected})


def test_block_ends_see_a_change_of_one_side_only():
    layers = [Stub("a", (1, 2, 8, 8)), Stub("b", (1, 2, 8, 4)), Stub("c", (1, 2, 8, 4))]
    assert positions("block-ends", layers) == [0, 2]


@pytest.mark.parametrize("shape", [None, ("n", 3, "h", "w"), (1, 3, None, 4)])
def test_block_ends_need_sizes(shape):
    with pytest.raises(SelectionError, match=r"m\.onnx leaves open"):
        select("block-ends", [Stub("a", (1, 3, 8, 8)), Stub("b", shape)], "m.onnx")


@pytest.mark.parametrize(
    ("selection", "match"),
    [
        ("conv9", r"'conv9' in m\.onnx; it has block1_conv1, block1_conv2"),
        ("block9_*", r"'block9_\*'"),
        ("block1_conv1,nope", "'nope'"),
        ("13", "position 13"),
        (13, "position 13"),
        (-14, "position -14"),
        ("10-13", r"positions 10-13 .*positions 0-12"),
        ("3-1", "3-1"),
        ("every:0", "every:0"),
        ("every:x", "'every:x'"),
        ("", "empty"),
        (" , ", "empty"),
        ([], "empty"),
        ("Block1_conv1", "'Block1_conv1'"),
    ],
)
def test_errors_say_what_was_asked_and_what_there_is(selection, match):
    with pytest.raises(SelectionError, match=match) as caught:
        select(selection, VGG, "m.onnx")
    text = str(caught.value)
    assert "\n" not in text
    if "every:0" not in match:
        assert "block1_conv1" in text
        assert "Model.layers lists them" in text


def test_a_long_list_is_cut_and_counted():
    layers = stubs(*(f"c{i}" for i in range(40)))
    with pytest.raises(SelectionError, match="c11 and 28 more") as caught:
        select("nope", layers, "m.onnx")
    assert "c12" not in str(caught.value)


def test_a_model_without_layers_says_so():
    with pytest.raises(SelectionError, match=r"m\.onnx has no convolution; .*all_layers lists"):
        select("all", [], "m.onnx")


def test_exactly_one():
    assert [layer.name for layer in select("3", VGG, "m.onnx", exactly_one=True)] == ["block2_conv2"]
    with pytest.raises(SelectionError, match="4 layers"):
        select("0-3", VGG, "m.onnx", exactly_one=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,3,5-9", [0, 3, 5, 6, 7, 8, 9]),
        ("7", [7]),
        ("9,1,1-2", [9, 1, 2]),
        (" 4 , 2 ", [4, 2]),
        ("3-3", [3]),
    ],
)
def test_numbers(text, expected):
    assert numbers(text, "filters") == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 20)), min_size=1, max_size=8))
def test_numbers_mean_what_was_written(spans):
    text = ",".join(str(start) if not length else f"{start}-{start + length}" for start, length in spans)
    meant = []
    for start, length in spans:
        for number in range(start, start + length + 1):
            if number not in meant:
                meant.append(number)
    assert numbers(text, "filters") == meant


@pytest.mark.parametrize("text", ["x", "1,x", "1.5", "-1", "1-", "1-2-3", "+1", "0x1", "1 2"])
def test_numbers_refuse_what_is_none(text):
    with pytest.raises(SelectionError, match=r"number or a range of filters"):
        numbers(text, "filters")


@pytest.mark.parametrize("text", ["", ",", " "])
def test_numbers_refuse_an_empty_list(text):
    with pytest.raises(SelectionError, match="names no channels"):
        numbers(text, "channels")


def test_numbers_refuse_a_range_that_goes_down():
    with pytest.raises(SelectionError, match="'9-5' of filters does not count upwards"):
        numbers("9-5", "filters")


def test_a_range_too_long_is_not_said_to_go_down():
    with pytest.raises(SelectionError, match="0-2000000") as caught:
        numbers("0-2000000", "filters")
    assert "upwards" not in str(caught.value)
