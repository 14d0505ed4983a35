"""The input above maps on disk: that of each sample, by the axis that counts its channels; none where it is another."""

import numpy as np
import onnx
import pytest
from protos import normal, parsed

from onnxviz.cli import run
from onnxviz.inputs.samples import ImageOptions
from onnxviz.maps.tapped_run import LayerChoice, TappedRun
from onnxviz.model.model import load
from onnxviz.output.maps_input import MapsInput
from onnxviz.runtime.session import RunOptions


def network(sizes, kernel):
    """A convolution of named axes and its Relu."""
    named = ", ".join(f'"{size}"' if isinstance(size, str) else str(size) for size in sizes)
    return parsed(
        f"""net (float["n", {named}] x) => (float y) {{
              c = Conv (x, w)
              y = Relu (c)
            }}""",
        w=normal(4, *kernel),
    )


def of(proto, x):
    opened = load(proto)
    return MapsInput(TappedRun(opened, x, LayerChoice("all"), ImageOptions.of(opened), RunOptions()))


@pytest.mark.parametrize(("sizes", "kernel"), [((2, 30), (2, 5)), ((1, 6, 8, 9), (1, 3, 3, 3))])
def test_each_row_of_an_array_has_its_own(sizes, kernel):
    array = normal(3, *sizes)
    found = of(network(sizes, kernel), array)
    for row in range(3):
        np.testing.assert_array_equal(found.of({"x": array}, row, len(sizes) - 1), array[row])
    assert found.of({"x": array}, 0, 2) is None  # maps of other axes


def test_a_picture_is_none_of_its_business():
    array = normal(1, 3, 8, 8)
    found = of(network((3, 8, 8), (3, 3, 3)), array)
    assert found.of({"x": array}, 0, 2) is None
    assert found.of({"x": array}, 0, 1) is None


def test_the_picture_on_disk_has_the_signal_above_its_maps(tmp_path, figures):
    onnx.save(network((2, 30), (2, 5)), tmp_path / "m.onnx")
    array = normal(2, 2, 30)
    np.save(tmp_path / "x.npy", array)
    assert run(["maps", str(tmp_path / "m.onnx"), str(tmp_path / "x.npy"), "-q", "-o", str(tmp_path / "maps")]) == 0
    assert len(figures) == 2
    for figure, signal in zip(figures, array, strict=True):
        lines = [line.get_ydata() for line in figure.axes[0].lines if len(line.get_ydata()) == 30]
        assert len(lines) == 2
        for line, values in zip(lines, signal, strict=True):
            assert np.corrcoef(line, values)[0, 1] == pytest.approx(-1)  # pixels count downwards
