"""Places: a model's path and what is behind its `@`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zoo
from onnx import save

from onnxviz.errors import ProviderError
from onnxviz.model.model import load
from onnxviz.runtime.place import Place, split_place
from onnxviz.runtime.session import RunOptions, Session, available_providers


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


@pytest.mark.parametrize(
    ("files", "text", "path", "place"),
    [
        (["m.onnx"], "m.onnx", "m.onnx", Place()),
        (["m.onnx"], "m.onnx@cpu", "m.onnx", Place("cpu")),
        (["m.onnx"], "m.onnx@CPUExecutionProvider", "m.onnx", Place("cpu")),
        (["m.onnx"], "m.onnx@noopt", "m.onnx", Place(optimize=False)),
        (["m@2.onnx"], "m@2.onnx", "m@2.onnx", Place()),
        (["m@2.onnx"], "m@2.onnx@noopt", "m@2.onnx", Place(optimize=False)),
        (["m.onnx", "m.onnx@cpu"], "m.onnx@cpu", "m.onnx@cpu", Place()),
        (["m.onnx", "m.onnx@cpu"], "m.onnx@cpu@noopt", "m.onnx@cpu", Place(optimize=False)),
        (["a@cpu/m.onnx"], "a@cpu/m.onnx", "a@cpu/m.onnx", Place()),
        (["a@cpu/m.onnx"], "a@cpu/m.onnx@noopt", "a@cpu/m.onnx", Place(optimize=False)),
        (["@"], "@", "@", Place()),
        # What is not there is for whoever opens it to refuse.
        ([], "nope.onnx", "nope.onnx", Place()),
        ([], "nope.onnx@noopt", "nope.onnx", Place(optimize=False)),
        ([], "a@b/nope.onnx", "a@b/nope.onnx", Place()),
        ([], "a@b/nope.onnx@cpu", "a@b/nope.onnx", Place()),
        ([], r"C:\a@b\nope.onnx", r"C:\a@b\nope.onnx", Place()),
        ([], r"C:\a@b\nope.onnx@noopt", r"C:\a@b\nope.onnx", Place(optimize=False)),
        ([], r"C:\models\nope.onnx@cpu", r"C:\models\nope.onnx", Place()),
        ([], "n" * 5000 + ".onnx@cpu", "n" * 5000 + ".onnx", Place()),
    ],
)
@pytest.mark.usefixtures("folder")
def test_places(files: list[str], text: str, path: str, place: Place) -> None:
    made(*files)
    assert split_place(text) == (path, place)
    assert Place.parse(str(place)) == place


@pytest.mark.parametrize(
    ("text", "path", "provider"),
    [
        ("m.onnx@fast", "m.onnx", "fast"),
        ("m.onnx@fast:a=1,b=x:y,z", "m.onnx", "fast:a=1,b=x:y,z"),
        ("m.onnx@fast:file=a@b/c.json", "m.onnx", "fast:file=a@b/c.json"),
        (r"C:\m@x\n.onnx@fast:file=D:\c.json", r"C:\m@x\n.onnx", r"fast:file=D:\c.json"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_options_may_name_files(text: str, path: str, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["FastExecutionProvider", "CPUExecutionProvider"]
    )
    made("m.onnx")
    assert split_place(text) == (path, Place(provider))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("m.onnx@tpu", "^behind @: there is no provider 'tpu'; there are cpu.*; @noopt turns graph optimisations off$"),
        ("m.onnx@", "^behind @: there is no provider ''; there are cpu"),
        ("m.onnx@noopt:a=1", "there is no provider 'noopt'"),
        ("m.onnx@cpu:use_arena=0", "'cpu' takes no options"),
        ("m@2.onnx", "^there is no file 'm@2.onnx', and behind @: there is no provider '2.onnx'"),
        ("@cpu", "^'@cpu' names no model: write MODEL@cpu$"),
        ("@", "^'@' names no model: write MODEL@cpu$"),
        ("m.onnx@\x1b[31m", "there is no provider"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_places_that_cannot_be(text: str, said: str) -> None:
    made("m.onnx")
    with pytest.raises(ProviderError, match=said) as caught:
        split_place(text)
    assert str(caught.value).isprintable()


@pytest.mark.skipif("cuda" in available_providers(), reason="this machine has CUDA")
@pytest.mark.usefixtures("folder")
def test_a_provider_that_is_not_there_is_no_place() -> None:
    made("m.onnx")
    with pytest.raises(ProviderError, match=r"^behind @: provider 'cuda' was asked for.*install onnxruntime-gpu"):
        split_place("m.onnx@cuda")


def test_a_place_is_where_a_model_runs(folder: Path) -> None:
    proto = zoo.model("classifier")
    save(proto, "m.onnx")
    feeds = zoo.feeds(proto)
    path, place = split_place("m.onnx@noopt")
    options = place.options(memory=2**25, threads=2)
    assert options == RunOptions("cpu", 2**25, 2, optimize=False)
    found = Session.of(load(path), options=options).run(["logits"], feeds)[0]
    usual = Session.of(load(path)).run(["logits"], feeds)[0]
    np.testing.assert_allclose(found, usual, rtol=1e-4, atol=1e-5)
