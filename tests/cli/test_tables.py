"""The layer table at the widths terminals have."""

from __future__ import annotations

import io

import numpy as np
import pytest
import zoo
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from onnxviz.cli.tables import layer_table, short_names
from onnxviz.model.model import load


def drawn(name: str, width: int, layout: str = "onnx", *, everything: bool = False) -> list[str]:
    model = load(zoo.model(name))
    out = io.StringIO()
    layers = model.all_layers if everything else model.layers
    Console(file=out, width=width).print(layer_table(model, layers, layout, width))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120, 220])
@pytest.mark.parametrize("name", ["classifier", "geometry", "quantized", "functions"])
def test_names_positions_filters_and_outputs_are_whole_at_any_width(name: str, width: int) -> None:
    lines = drawn(name, width)
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for layer in load(zoo.model(name)).layers:
        row = next(line for line in lines if line.strip().startswith(f"{layer.index} "))
        assert row.split()[1] == layer.name
        assert "×".join(map(str, layer.weight_shape)) in row
    assert "…" not in text.replace("(OI…)", "")


def test_what_is_left_out_is_said() -> None:
    assert "not shown at this width" not in "\n".join(drawn("geometry", 220))
    narrow = drawn("geometry", 60)
    assert narrow[-1].startswith("not shown at this width: ") or narrow[-2].startswith("not shown at this width: ")
    assert "stride" not in narrow[narrow.index(next(x for x in narrow if x.lstrip().startswith("#")))]


def test_columns_that_would_say_nothing_are_left_out() -> None:
    head = next(line for line in drawn("classifier", 220) if "layer" in line and "#" in line)
    assert head.split() == ["#", "layer", "operator", "filters", "(OIHW)", "bias", "stride", "pads", "output",
                            "activation", "params", "batch", "norm"]  # fmt: skip
    head = next(line for line in drawn("quantized", 220) if "layer" in line and "#" in line)
    assert "weight is" in head
    assert "type" not in head  # all are read as float32


def test_what_lies_behind_each_convolution_is_in_the_table() -> None:
    lines = drawn("activations", 200)
    cells = {line.split()[1]: line for line in lines if line.strip()[:1].isdigit()}
    assert " Sigmoid·Mul " in cells["silu"]
    assert " BatchNormalization, PRelu " in cells["prelu"]
    assert " none: Conv follows " in cells["linear"]
    assert " none: Add joins another branch " in cells["residual"]


def test_other_layers_have_blanks_where_a_convolution_has_geometry() -> None:
    row = next(line for line in drawn("classifier", 120, everything=True) if "LeakyRelu" in line)
    assert "?" not in row


def open_sizes(*sizes: str) -> list[str]:
    """The table of a model with two pointwise convolutions, whose input has these open sizes."""
    tensor = helper.make_tensor_value_info
    weights = [
        numpy_helper.from_array(np.zeros(shape, np.float32), name)
        for name, shape in (("u", (4, 3, 1, 1)), ("v", (5, 4, 1, 1)))
    ]
    nodes = [helper.make_node("Conv", ["x", "u"], ["y"]), helper.make_node("Conv", ["y", "v"], ["z"])]
    ports = [[tensor(name, TensorProto.FLOAT, [sizes[0], count, *sizes[1:]])] for name, count in (("x", 3), ("z", 5))]
    model = helper.make_model(
        helper.make_graph(nodes, "g", *ports, weights), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    out = io.StringIO()
    opened = load(model)
    Console(file=out, width=220).print(layer_table(opened, opened.layers, "onnx", 220))
    return out.getvalue().splitlines()


def test_long_open_sizes_are_letters_in_the_rows_and_said_once() -> None:
    long = ["DynamicDimension.1", "floor(floor(DynamicDimension.1/2 - 1/2)/2) + 1"]
    lines = open_sizes("a", *long)
    rows = [line for line in lines if " Conv " in line]
    assert len(rows) == 2
    assert all(len(row) < 120 for row in rows)
    assert [row.split()[6] for row in rows] == ["a×4×b×c", "a×5×b×c"]  # "a" is the batch's own name
    assert lines[-2:] == [f"b = {long[0]}", f"c = {long[1]}"]


def test_short_open_sizes_stay_as_they_are() -> None:
    lines = open_sizes("batch", "height", "width")
    assert [line.split()[6] for line in lines if " Conv " in line] == ["batch×4×height×width", "batch×5×height×width"]
    assert not any(" = " in line for line in lines)


def test_letters_do_not_run_out() -> None:
    shapes = [[f"floor(n/{number})" for number in range(80)] + ["a", "z1"]]
    names = short_names(shapes)
    assert len({*names.values()}) == len(names) == 80
    assert not {*names.values()} & {"a", "z1"}
