"""A comparison on disk: which files there are, what the manifest says of them, and whose maps are drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oracles import untouched
from protos import classifier_proto, normal

import onnxviz
from onnxviz.output import comparisons
from onnxviz.output.comparisons import write_comparison
from onnxviz.output.picture_options import PictureOptions


def noisy():
    """The classifier with its second convolution's bias a little off, channel 3 most."""
    proto = classifier_proto()
    bias = next(one for one in proto.graph.initializer if one.name == "block1_conv2/bias")
    values = np.frombuffer(bias.raw_data, np.float32).copy()
    values[3] += 0.5
    bias.raw_data = (values + np.float32(0.01)).tobytes()
    return proto


def compared(other=None, array=None):
    array = normal(3, 3, 16, 12) if array is None else array
    return onnxviz.compare(classifier_proto(), other or noisy(), array)


@pytest.fixture
def figures(monkeypatch) -> list:
    """What is drawn."""
    found, real = [], {name: getattr(comparisons, name) for name in ("plot_comparison", "plot_difference")}

    def spy(name):
        def plot(*arguments, **options):
            found.append((name, arguments, options))
            return real[name](*arguments, **options)

        return plot

    for name in real:
        monkeypatch.setattr(comparisons, name, spy(name))
    return found


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures_and_a_manifest_that_names_them(tmp_path, suffix, magic) -> None:
    found = compared()
    written = write_comparison(found, tmp_path / "new" / "c", PictureOptions(format=suffix))
    assert [path.name for path in written] == [f"layers.{suffix}", f"001-block1_conv2.{suffix}", "manifest.json"]
    assert all(path.read_bytes().startswith(magic) for path in written[:2])
    manifest = json.loads(written[2].read_text(), parse_constant=pytest.fail)
    assert manifest.pop("written") == {"compare": sorted(path.name for path in written[:2])}
    pictures = manifest.pop("pictures")
    assert pictures == {
        "layers": f"layers.{suffix}",
        "worst": {"layer": "block1_conv2", "input": found.worst.worst_sample, "file": f"001-block1_conv2.{suffix}"},
    }
    assert manifest == json.loads(json.dumps(found.as_dict()))


def test_the_maps_are_those_of_the_worst_layer_on_its_worst_sample(tmp_path, figures) -> None:
    array = normal(3, 3, 16, 12)
    array[1] *= 0.01  # little signal, the same error
    found = compared(array=array)
    write_comparison(found, tmp_path)
    assert [name for name, *_ in figures] == ["plot_comparison", "plot_difference"]
    _, (a, b), options = figures[1]
    for maps, proto in ((a, classifier_proto()), (b, noisy())):
        known = untouched(proto, ["r2"], {"image": array})["r2"][1]
        np.testing.assert_allclose(maps, known, rtol=1e-4, atol=1e-5)
    assert options["title"] == "block1_conv2"
    assert f"array[1] · {found.worst.ratio} over all samples" in options["subtitle"]


def test_where_nothing_differs_there_are_no_maps(tmp_path) -> None:
    written = write_comparison(compared(classifier_proto()), tmp_path)
    assert [path.name for path in written] == ["layers.png", "manifest.json"]
    assert json.loads(written[1].read_text())["pictures"] == {"layers": "layers.png"}


def test_a_layer_whose_name_is_a_path_stays_in_the_folder(tmp_path) -> None:
    a, b = classifier_proto(), noisy()
    for proto in (a, b):
        proto.graph.initializer[2].name = proto.graph.node[2].input[1] = "../../up/kernel"
    written = write_comparison(onnxviz.compare(a, b, normal(1, 3, 16, 12)), tmp_path / "c")
    assert sorted(written) == sorted((tmp_path / "c").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
