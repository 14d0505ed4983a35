"""How images are prepared, as every command states it: derived from the graph, contradicted, or assumed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import holds
from figures import facts
from matplotlib.figure import Figure
from oracles import untouched
from PIL import Image
from protos import classifier_proto

PHOTO = np.random.default_rng(4).integers(0, 256, (16, 12, 3), np.uint8)
WHY = "the model divides by 255 itself"
COMMANDS = {
    "maps": (["maps", "m.onnx", "photo.png", "--layers", "0", "-o", "out"], "out/manifest.json"),
    "top patches": (["maps", "m.onnx", "photo.png", "--top-patches", "1", "--layers", "0", "-o", "out"],
                    "out/manifest.json"),
    "explain": (["explain", "m.onnx", "photo.png", "-o", "out"], "out/manifest.json"),
    "maximize": (["maximize", "m.onnx", "block1_conv1", "--filters", "0", "--steps", "1", "-o", "out"],
                 "out/manifest.json"),
}  # fmt: skip


def with_front(divisor):
    """The sample classifier behind `x / divisor`."""
    proto = classifier_proto()
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(divisor), "divisor"))
    proto.graph.node.insert(0, onnx.helper.make_node("Div", ["image", "divisor"], ["divided"], name="front"))
    proto.graph.node[1].input[0] = "divided"
    return proto


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def rescaling(tmp_path, photo):
    onnx.save(with_front(255), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, whoever saves them."""
    saved, save = [], Figure.savefig

    def spy(figure, *args, **options):
        saved.append(figure)
        return save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return saved


@pytest.mark.parametrize("command", COMMANDS)
def test_a_derived_preprocessing_is_stated(run_command, rescaling, figures, command):
    arguments, manifest = COMMANDS[command]
    ran = run_command(*arguments, "--json")
    assert ran.code == 0, ran.err
    told = {"name": "raw", "assumed": False, "source": "graph", "remark": WHY}
    holds(ran.document["preprocessing"], told)
    holds(json.loads(Path(manifest).read_text())["preprocessing"], told)
    assert f"prepared as 'raw': {WHY}" in ran.err
    assert figures
    assert not any("assumed" in facts(figure) for figure in figures)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_assumed_is_in_the_picture_and_settled_by_what_is_named(run_command, tmp_path, photo, figures, command):
    onnx.save(classifier_proto(), tmp_path / "m.onnx")
    arguments, manifest = COMMANDS[command]
    ran = run_command(*arguments, "--json")
    assert ran.code == 0, ran.err
    assert any("preprocessing assumed: unit" in facts(figure) for figure in figures)
    for found in (ran.document, json.loads(Path(manifest).read_text())):
        holds(found["preprocessing"], {"name": "unit", "assumed": True, "source": "assumption"})
        assert "--preprocess P" in found["preprocessing"]["remark"]
        assert "onnxviz annotate m.onnx --preprocess P -o OUT" in found["preprocessing"]["remark"]
    figures.clear()
    settled = run_command(*arguments, "--preprocess", "signed", "--json")
    holds(settled.document["preprocessing"], {"name": "signed", "assumed": False, "source": "option", "remark": None})
    assert "prepared" not in settled.err
    assert figures
    assert not any("assumed" in facts(figure) for figure in figures)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_contradiction_between_metadata_and_graph_is_said(run_command, rescaling, figures, command):
    assert run_command("annotate", "m.onnx", "--preprocess", "unit", "-o", "m.onnx").code == 0
    ran = run_command(*COMMANDS[command][0], "--json")
    assert "the metadata say 'unit', but 'raw' is what the graph expects" in ran.err
    assert any("preprocessing unit, which the graph contradicts" in facts(figure) for figure in figures)
    holds(ran.document["preprocessing"], {"name": "unit", "assumed": False, "source": "metadata"})
    assert WHY in ran.document["preprocessing"]["remark"]


def test_maps_of_a_photo_are_those_of_its_pixels(run_command, rescaling):
    """The oracle is an untouched run on the pixels as they are, 0…255."""
    assert run_command("maps", "m.onnx", "photo.png", "--at", "conv", "--save", "m.npz").code == 0
    fed = PHOTO.transpose(2, 0, 1)[None].astype(np.float32)
    truth = untouched(onnx.load(rescaling), ["c1"], {"image": fed})["c1"]
    with np.load("m.npz") as maps:
        np.testing.assert_allclose(maps["block1_conv1"], truth, rtol=1e-4, atol=1e-5)


def test_layers_states_it(run_command, rescaling, tmp_path):
    assert f"pre raw: {WHY}\n" in run_command("layers", "m.onnx").out
    document = run_command("layers", "m.onnx", "--json").document
    holds(document, {"preprocessing_source": "graph", "preprocessing_conflict": None})
    holds(document["preprocessing"], {"name": "raw", "scale": 1.0, "order": "RGB"})
    holds(document["expects"], {"name": "raw", "why": WHY, "order_is_open": False})

    run_command("annotate", "m.onnx", "--preprocess", "scale=1,mean=10:20:30,order=BGR", "-o", "other.onnx")
    text = " ".join(run_command("layers", "other.onnx").out.split())
    assert (
        "pre scale=1,mean=10:20:30,order=BGR the metadata say 'scale=1,mean=10:20:30,order=BGR', but 'raw' is what"
        in text
    )
    document = run_command("layers", "other.onnx", "--json").document
    holds(document, {"preprocessing_source": "metadata"})
    holds(document["preprocessing"], {"mean": [10, 20, 30]})
    assert WHY in document["preprocessing_conflict"]

    onnx.save(classifier_proto(), tmp_path / "plain.onnx")
    assert "pre not stated in the model\n" in run_command("layers", "plain.onnx").out
    holds(
        run_command("layers", "plain.onnx", "--json").document,
        {"preprocessing": None, "preprocessing_source": None, "expects": None, "preprocessing_conflict": None},
    )


def test_a_note_called_torch_with_other_numbers_is_shown_as_those(run_command, tmp_path):
    proto = classifier_proto()
    note = {"name": "torch", "scale": 0.5, "mean": [1, 2, 3], "std": [1.0], "order": "RGB"}
    proto.metadata_props.add(key="onnxviz.preprocessing", value=json.dumps(note))
    onnx.save(proto, tmp_path / "m.onnx")
    assert "pre scale=0.5,mean=1:2:3\n" in run_command("layers", "m.onnx").out
    holds(run_command("layers", "m.onnx", "--json").document["preprocessing"], {**note, "name": "custom"})


@pytest.mark.parametrize("formula", ["scale=1e39", "scale=1e-50", "mean=nan", "std=1e-60", "mean=1e30"])
def test_numbers_that_no_picture_survives_are_refused_in_one_line(run_command, tmp_path, photo, formula):
    onnx.save(classifier_proto(), tmp_path / "m.onnx")
    for arguments in (*(one for one, _ in COMMANDS.values()), ["annotate", "m.onnx", "-o", "n.onnx"]):
        ran = run_command(*arguments, "--preprocess", formula)
        assert ran.code == 2
        assert ran.err.startswith("error: a preprocessing "), ran.err
        assert ran.err.count("\n") == 1
    assert not Path("n.onnx").exists()
    assert not Path("out").exists()


def test_filters_as_colours_are_those_that_the_first_layer_sees(run_command, tmp_path, figures):
    """Channels that are reversed inside: the first of the filter's is blue."""
    proto = with_front(1.0)
    proto.graph.node[0].CopyFrom(onnx.helper.make_node("Gather", ["image", "turn"], ["turned"], axis=1))
    proto.graph.node.insert(1, onnx.helper.make_node("Sub", ["turned", "mean"], ["divided"]))
    numbers = {"turn": np.array([2, 1, 0]), "mean": np.array([103.939, 116.779, 123.68], np.float32).reshape(3, 1, 1)}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in numbers.items())
    onnx.save(proto, tmp_path / "inside.onnx")
    onnx.save(classifier_proto(), tmp_path / "plain.onnx")
    shown = []
    for model, more in (("inside.onnx", []), ("plain.onnx", ["--channels", "2,1,0"]), ("plain.onnx", [])):
        figures.clear()
        assert run_command("filters", model, "--style", "rgb", "-o", "f.png", *more).code == 0
        shown.append(np.array(figures[0].axes[0].images[0].get_array()))
    np.testing.assert_array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[0], shown[2])
