"""The layer table at the widths terminals have."""

from __future__ import annotations

import io

import pytest
import zoo
from rich.console import Console

from onnxviz.cli.tables import layer_table
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
