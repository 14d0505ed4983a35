"""Later versions of the sample classifier, held against its baseline: what was done to each is named, and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import disguises
import numpy as np
import onnx
import pytest
import zoo
from planted import MODELS, audited, changed, sample
from planted_images import crop_inputs, crops
from quantised import quantise
from versions import exported_again, moved, quarter_gone, shuffle, with_channels

from onnxviz.auditing.baseline import Baseline, ModelRecord
from onnxviz.auditing.finding import Finding

LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5", "dense"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[str]:
    return crops(tmp_path_factory.mktemp("photos"), 80)


@pytest.fixture(scope="module")
def released(photos) -> Baseline:
    """Of the classifier with 80 photos."""
    record = audited(MODELS / "classifier.onnx", "G00,W02", data=photos, keep=True).record
    return Baseline.of(record)


def findings(model, released: Baseline, code: str, **options) -> tuple[Finding, ...]:
    found = audited(model, code, baseline=released, **options)
    assert not found.not_run, found.not_run
    return found.findings


def said(found: tuple[Finding, ...]) -> dict[str, str]:
    return {one.layer: one.message for one in found}


# ---------------------------------------------------------------- R01: filters


@pytest.mark.parametrize("code", ["R01", "R03", "R05"])
@pytest.mark.parametrize("made", [onnx.ModelProto.FromString, exported_again], ids=["itself", "exported again"])
def test_nothing_changed(released, code, made: Callable):
    model = made(sample().SerializeToString()) if made is not exported_again else exported_again(sample())
    assert findings(model, released, code) == ()


@pytest.mark.parametrize("name", ["unet", *zoo.NAMES])
def test_every_kind_of_model_is_what_it_was(name):
    """Subgraphs, functions, quantised and transposed convolutions among them, exported again or not."""
    proto = zoo.model(name) if name in zoo.NAMES else sample(name)
    record = audited(proto, "G00,W02", keep=True).record
    found = audited(proto, "R01,R03,R05,W02", baseline=Baseline.of(record))
    assert not [one for one in found.findings if one.code != "W02"]
    assert (found.not_run, found.since.new, found.since.gone) == ((), (), ())


@pytest.mark.parametrize("distance", [1e-3, 0.02, 0.3])
def test_trained_further(released, distance):
    """Each layer by as much as it was moved, as numpy has it, within four of the errors that are said."""
    before, after = sample(), moved(sample(), distance)
    found = findings(after, released, "R01")
    assert [one.layer for one in found] == LAYERS
    gain = {f"conv{number}": bn_gain(before, number) for number in range(1, 6)}
    for one in found:
        assert one.severity.value == "note"
        old, new = (weight(proto, one.layer) * gain.get(one.layer, 1) for proto in (before, after))
        true = np.linalg.norm(new - old) / np.linalg.norm(old)
        assert one.value == pytest.approx(true, rel=4 * np.sqrt(1 / (32 * len(old))))
        assert f"{len(old)} of {len(old)} filters moved" in one.message
        assert "order" not in one.message
        assert "gone" not in one.message


def weight(proto: onnx.ModelProto, layer: str) -> np.ndarray:
    (found,) = (one for one in proto.graph.initializer if one.name == f"{layer}.weight")
    array = onnx.numpy_helper.to_array(found).astype(np.float64)
    return array.reshape(len(array), -1)


def bn_gain(proto: onnx.ModelProto, number: int) -> np.ndarray:
    stored = {one.name: onnx.numpy_helper.to_array(one).astype(np.float64) for one in proto.graph.initializer}
    return (stored[f"bn{number}.weight"] / np.sqrt(stored[f"bn{number}.running_var"] + 1e-5))[:, None]


@pytest.mark.parametrize("distance", [1e-3, 0.02, 0.3])
def test_one_filter_of_one_layer(released, distance):
    """Its number, and how far it went within 4 x 18 %; another export does not hide it."""

    def one(values: np.ndarray) -> None:
        step = np.random.default_rng(1).normal(size=values[17].shape)
        values[17] += distance * np.linalg.norm(values[17]) / np.linalg.norm(step) * step

    model = exported_again(changed(sample(), "conv3.weight", one))
    (found,) = findings(model, released, "R01")
    assert "1 of 96 filters moved" in found.message
    assert "(in the release: 'conv3')" in found.message
    told = re.search(r"filter 17 most, by ([\d.]+)%", found.message)
    assert told is not None
    assert float(told[1]) / 100 == pytest.approx(distance, rel=4 * 0.18)


@pytest.mark.parametrize("distance", [0.0, 5e-8])
def test_rounding_is_no_change(released, distance):
    assert findings(moved(sample(), distance), released, "R01") == ()


@pytest.mark.parametrize("again", [False, True])
def test_reordered(released, again):
    model, rows, _ = with_channels(sample(), shuffle)
    assert rows["conv2.weight"].tolist() != list(range(64))
    found = findings(exported_again(model) if again else model, released, "R01")
    assert len(found) == 6
    for number, one in enumerate(found):
        assert ("filters stand in another order" in one.message) == (number < 5)
        assert ("input channels are read in another order" in one.message) == (number > 0)
        assert "otherwise the filters are the same" in one.message
        assert not re.search("moved|gone|new", one.message)


def test_pruned(released):
    model, rows, _ = with_channels(sample(), quarter_gone)
    found = said(findings(model, released, "R01"))
    assert [*found] == LAYERS
    for layer, message in found.items():
        was = {"dense": 11}.get(layer) or len(weight(sample(), layer))
        gone = sorted({*range(was)} - {*rows[f"{layer}.weight"].tolist()})
        if gone:
            listed = ", ".join(map(str, gone[:5]))
            assert f"{len(gone)} of {was} filters are gone ({listed}" in message
        else:
            assert "filters are gone" not in message
        assert ("input channels are gone" in message) == (layer != "conv1")
        assert message.endswith("otherwise the filters are the same")
        assert not re.search("moved|order|new", message)


def test_normalisations_that_are_folded_are_said_and_are_no_training(released):
    (found,) = findings(disguises.batch_norms_folded(sample()), released, "R01")
    assert found.message.startswith("in 5 of 6 layers a batch normalisation is multiplied into the weights since")
    assert (found.layer, found.value) == ("", 5)
    folded = Baseline.of(audited(disguises.batch_norms_folded(sample()), "G00", keep=True).record)
    (found,) = findings(sample(), folded, "R01")
    assert "stands apart from the weights since the release" in found.message


def test_normalisations_that_were_trained_are_filters_that_moved(released):
    def scaled(values: np.ndarray) -> None:
        values[5] *= 1.5

    (found,) = findings(changed(sample(), "bn2.weight", scaled), released, "R01")
    assert found.layer == "conv2"
    assert "1 of 64 filters moved" in found.message
    told = re.search(r"filter 5 most, by ([\d.]+)%", found.message)
    assert told is not None
    assert float(told[1]) == pytest.approx(50, rel=4 * 0.18)


@pytest.mark.parametrize("by", [1e-3, 0.1, 2.0])
def test_biases_alone(released, by):
    def raised(values: np.ndarray) -> None:
        values += np.float32(by) * np.linalg.norm(values) / np.sqrt(values.size)

    (found,) = findings(changed(sample(), "dense.bias", raised), released, "R01")
    told = re.search(r"biases moved by ([\d.]+)% of their norm", found.message)
    assert found.layer == "dense"
    assert float(told[1]) / 100 == pytest.approx(by, rel=0.1)
    assert "filters moved" not in found.message


def test_half_precision_is_said(released):
    found = findings(disguises.half(sample()), released, "R01")
    assert [one.layer for one in found] == LAYERS
    assert all("weights are stored as float16, and were as float32" in one.message for one in found)
    assert all(one.value < 5e-4 for one in found)  # 2⁻¹¹


def test_a_layer_more_and_a_layer_less():
    less = disguises.batch_norms_folded(sample())
    more = disguises.inserted(less, 2)
    one, other = (Baseline.of(audited(made, "G00", keep=True).record) for made in (less, more))
    (found,) = findings(more, one, "R01")
    assert found.message == "the layer of 96 filters is new: the release has none in its place"
    (found,) = findings(less, other, "R01")
    assert found.message == "a layer of 96 filters of the release is not in this model"
    assert found.layer == ""


def test_a_normalisation_that_is_gone_is_not_called_folded(released):
    """Nor its layer's filters trained: they are as they are stored."""
    model = sample()
    place = next(number for number, one in enumerate(model.graph.node) if one.output[0] == "bn4")
    del model.graph.node[place]
    next(one for one in model.graph.node if "bn4" in one.input).input[0] = "conv4"
    (found,) = findings(model, released, "R01")
    assert (found.layer, found.value) == ("conv4", pytest.approx(0, abs=1e-6))
    assert "a batch normalisation stands right behind the layer in one version alone" in found.message
    assert "otherwise the filters are the same" in found.message


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_quantised(released, form, tmp_path):
    """Each layer within what eight bits for a whole tensor may cost; by numpy on the weights, to the scale."""
    path = quantise(MODELS / "classifier.onnx", tmp_path / "q.onnx", list(crop_inputs(4)[:, None]), form=form)
    found = findings(path, released, "R01")
    assert len(found) == 6
    for one, layer in zip(found, LAYERS, strict=True):
        values = weight(sample(), layer)
        step = np.abs(values).max() / 127
        assert 0 < one.value < 1.5 * np.sqrt(values.size) * step / np.sqrt(12) / np.linalg.norm(values)
        assert "weights are stored as int8, and were as float32" in one.message
        assert ("normalisation stands right behind the layer in one version alone" in one.message) == (layer != "dense")


# ---------------------------------------------------------------- R03: the interface


@pytest.mark.parametrize(("key", "where"), [("classes", "classes"), ("onnxviz.preprocessing", "preprocessing")])
def test_metadata_that_are_gone(released, key, where):
    model = sample()
    kept = [entry for entry in model.metadata_props if entry.key != key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    (found,) = findings(model, released, "R03")
    assert (found.severity.value, found.where) == ("error", where)


@pytest.mark.parametrize(("symbol", "severity"), [("samples", "note"), (4, "error")])
def test_an_open_batch(released, symbol, severity):
    model = sample()
    for value in (*model.graph.input, *model.graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        dim.Clear()
        if isinstance(symbol, int):
            dim.dim_value = symbol
        else:
            dim.dim_param = symbol
    assert [(one.severity.value, one.where) for one in findings(model, released, "R03")] == [
        (severity, "image"), (severity, "logits"),
    ]  # fmt: skip


def test_a_later_opset(released):
    model = onnx.version_converter.convert_version(sample(), 20)
    found = findings(model, released, "R03")
    assert [(one.severity.value, one.where) for one in found] == [("warning", "opset")]


# ---------------------------------------------------------------- R04: the photos


def darkened(folder, paths, factor):
    from PIL import Image

    for number, path in enumerate(paths):
        pixels = np.asarray(Image.open(path), np.float64) * factor
        Image.fromarray(np.rint(pixels).astype(np.uint8)).save(folder / f"{number}.png")
    return str(folder)


@pytest.mark.parametrize("half", [slice(0, None, 2), slice(1, None, 2), slice(0, 40)])
def test_half_of_the_photos_is_silent(released, photos, half):
    assert findings(sample(), released, "R04", data=photos[half]) == ()


@pytest.mark.parametrize("factor", [0.4, 0.55, 0.7])
def test_darkened_photos_are_named(released, photos, factor, tmp_path):
    found = findings(sample(), released, "R04", data=darkened(tmp_path, photos, factor))
    assert {one.where for one in found} >= {"brightness", "contrast"}
    assert not {"height", "width"} & {one.where for one in found}
    assert all(one.severity.value == "note" for one in found)


def test_photos_that_are_hardly_darker_are_not(released, photos, tmp_path):
    assert findings(sample(), released, "R04", data=darkened(tmp_path, photos, 0.97)) == ()


def test_without_photos_it_is_not_run(released, photos):
    plain = Baseline.of(audited(sample(), "G00", keep=True).record)
    for baseline, data, why in (
        (plain, photos, "the baseline keeps no photos"),
        (released, photos[:7], "it needs 8 image files or more"),
        (None, photos, "no baseline was given (onnxviz.audit(baseline=))"),
    ):
        (one,) = audited(sample(), "R04", data=data, baseline=baseline).not_run
        assert why in one.why


# ---------------------------------------------------------------- R05: newly dead


def killed(count: int, share: float = 0.0) -> onnx.ModelProto:
    def kill(values: np.ndarray) -> None:
        values[10 : 10 + count] *= np.float32(share)

    return changed(sample(), "conv4.weight", kill)


@pytest.mark.parametrize("count", [1, 5, 40])
def test_filters_that_died(released, count):
    (found,) = findings(killed(count), released, "R05")
    assert (found.severity.value, found.layer, found.value) == ("warning", "conv4", count)
    assert found.channel == (10 if count == 1 else None)
    assert f"{count} of 112 filters are dead and were not in the release (10" in found.message


def test_filters_that_are_small_are_not_dead(released):
    assert findings(killed(5, 0.01), released, "R05") == ()


def test_filters_that_were_dead_in_the_release():
    dead = Baseline.of(audited(killed(5), "G00", keep=True).record)
    assert findings(killed(5), dead, "R05") == ()
    (found,) = findings(killed(6), dead, "R05")
    assert (found.value, found.channel) == (1, 15)
    model, _, _ = with_channels(killed(5), shuffle)
    assert findings(model, dead, "R05") == ()


@pytest.mark.parametrize("count", [1, 5, 40])
def test_channels_that_died_on_the_data(released, photos, count):
    """A bias that no photo overcomes; without data nothing tells it."""

    def sunk(values: np.ndarray) -> None:
        values[10 : 10 + count] = -100

    model = changed(sample(), "bn4.bias", sunk)
    alive = set(awake(released.models[0], "conv4", 112)) & {*range(10, 10 + count)}
    (found,) = findings(model, released, "R05", data=photos[:16])
    assert (found.layer, found.value) == ("conv4", len(alive))
    assert "channels are 0 on all samples and were not in the release" in found.message
    assert findings(model, released, "R05") == ()


def awake(record: ModelRecord, layer: str, count: int) -> Iterator[int]:
    assert record.silent is not None
    return (number for number in range(count) if number not in record.silent.channels[layer])


# ---------------------------------------------------------------- findings


def test_findings_that_are_new_and_gone(released):
    """Layers by their names of now, though they were exported again; values do not count."""
    now = audited(killed(5), "W02", baseline=released)
    assert [(one.code, one.layer) for one in now.since.new] == [("W02", "conv4")]
    assert now.since.gone == ()
    dead = Baseline.of(audited(killed(5), "W02", keep=True).record)
    healed = audited(sample(), "W02", baseline=dead)
    assert [(one.code, one.layer) for one in healed.since.gone] == [("W02", "conv4")]
    again = audited(exported_again(killed(5)), "W02", baseline=dead)
    assert (again.since.new, again.since.gone) == ((), ())
    reordered, _, _ = with_channels(killed(1), shuffle)
    one = Baseline.of(audited(killed(1), "W02", keep=True).record)
    assert audited(reordered, "W02", baseline=one).since.new == ()


def test_what_did_not_run_is_neither_new_nor_gone(released):
    dead = Baseline.of(audited(killed(5), "W02", keep=True).record)
    assert audited(sample(), "W01", baseline=dead).since.gone == ()
    unknowing = Baseline.of(audited(sample(), "W01", keep=True).record)
    assert audited(killed(5), "W02", baseline=unknowing).since.new == ()


def test_what_was_accepted_stays_accepted(tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text("[[audit.accept]]\ncode = 'W02'\nlayers = 'conv4'\nreason = 'pruned on purpose'\n")
    kept = Baseline.of(audited(killed(5), "W02", keep=True, config=config).record)
    kept.save(tmp_path / "release.baseline")
    now = audited(exported_again(killed(5)), "W02", baseline=tmp_path / "release.baseline", keep=True)
    (found,) = now.findings
    assert found.reason == "pruned on purpose"
    assert not now.fails("note")
    (found,) = audited(killed(5), "W02", baseline=Baseline.of(now.record)).findings  # also from release to release
    assert found.reason == "pruned on purpose"


def test_json_says_it(released):
    entry = audited(killed(5), "W02,R05", baseline=released).as_dict()
    since = json.loads(json.dumps(entry))["since_baseline"]
    assert since["path"] == released.models[0].label
    assert since["sha256"] == released.models[0].sha256
    assert [one["code"] for one in since["new"]] == ["W02"]  # R05 says itself that it is new
    assert since["gone"] == []
    assert audited(sample(), "W02").as_dict()["since_baseline"] is None
