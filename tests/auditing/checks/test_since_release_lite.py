"""EfficientNet-Lite0 with its ImageNet weights: trained further, pruned, reordered and exported again."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
from lite import export_lite, lite_crops
from planted import audited
from versions import exported_again, moved, quarter_gone, shuffle, with_channels

from onnxviz.auditing.baseline import Baseline

pytestmark = pytest.mark.framework
LAYERS = 50


@pytest.fixture(scope="module")
def lite(tmp_path_factory) -> Path:
    return export_lite(tmp_path_factory.mktemp("lite") / "lite.onnx")


@pytest.fixture(scope="module")
def released(lite) -> Path:
    record = audited(lite, "G00", keep=True).record
    return Baseline.of(record).save(lite.with_name("release.baseline"))


def messages(model, released) -> list[str]:
    found = audited(model, "R01,R03,R05", baseline=released)
    assert not found.not_run
    assert not [one for one in found.findings if one.code != "R01"]
    return [one.message for one in found.findings]


def answers(model: onnx.ModelProto):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": lite_crops(2)})[0]


def test_the_baseline_is_small(lite, released):
    assert released.stat().st_size < 0.15 * lite.stat().st_size


def test_exported_again(lite, released):
    assert messages(exported_again(onnx.load(lite)), released) == []


def test_trained_further(lite, released):
    found = messages(moved(onnx.load(lite), 0.01), released)
    assert len(found) == LAYERS
    for one in found:
        assert "filters moved, all together by" in one
        assert 0.8 < float(one.partition("all together by ")[2].partition("%")[0]) < 1.2
        assert not {"order", "gone", "new"} & {*one.split()}


def test_reordered(lite, released):
    """The network gives the same answers; so do its filters, at other places."""
    plain = onnx.load(lite)
    model, _, _ = with_channels(plain, shuffle)
    assert abs(answers(model) - answers(plain)).max() < 1e-4 * abs(answers(plain)).max()
    found = messages(exported_again(model), released)
    assert len(found) == LAYERS
    assert sum("filters stand in another order" in one for one in found) == LAYERS - 1  # not the classes
    assert all("otherwise the filters are the same" in one for one in found)
    assert not [one for one in found if "moved" in one or "gone" in one]


def test_pruned(lite, released):
    model, rows, _ = with_channels(onnx.load(lite), quarter_gone)
    answers(model)  # it runs
    before = {one.name: one.dims[0] for one in onnx.load(lite).graph.initializer}
    gone = sorted(before[name] - len(kept) for name, kept in rows.items() if before[name] > len(kept))
    found = messages(model, released)
    assert sorted(int(one.split()[0]) for one in found if "filters are gone" in one) == gone
    assert len(gone) == LAYERS - 1
    assert all("otherwise the filters are the same" in one for one in found)
    assert not [one for one in found if "moved" in one or "order" in one]
