"""Which tensor the activation tap is in what exporters write, for every normalisation and activation they know.

The exports lie in tests/zoo/exports as text, with what their frameworks give; `make zoo` makes them anew.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from exports import rows

from onnxviz.model.model import load

EXPORTS = rows.names()


def test_every_exporter_is_there() -> None:
    assert sorted(path.stem for path in rows.FOLDER.glob("*.onnxtxt")) == EXPORTS
    for word in ("torchscript", "dynamo", "pytorch-convert", "keras-convert", "tf2onnx"):
        assert any(word in name for name in EXPORTS), word


@pytest.mark.parametrize("name", EXPORTS)
def test_no_row_is_wrong_and_none_unsaid(name: str) -> None:
    proto, known = rows.kept(name)
    found = rows.taps(name)
    reordered = any(facts["reordered"] for facts in known["rows"].values())
    values = rows.tensors(load(proto).proto) if reordered else {}
    wrong = []
    for row, facts in known["rows"].items():
        if facts["conv"] is None:  # nothing can run what tf2onnx writes for these: Erfc, Expm1
            assert row.partition("__")[2] in ("celu", "gelu")
            assert name.startswith("tf2onnx")
            continue
        tensor, words = found[row]
        if facts["same"]:
            right = tensor in facts["same"]
            right &= words.startswith("after ") or (tensor == facts["conv"] and ": " in words)
        else:  # what the framework gives has its channels last, and a tensor that has them first was put in
            moved = np.moveaxis(values[facts["reordered"][-1]], -1, 1)
            right = words.startswith("after ") and np.array_equal(values[tensor], moved)
        if not right:
            wrong.append(f"{row}: {tensor}, {words}; right: {facts['same'] or facts['reordered']}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", EXPORTS)
def test_the_table_of_taps(name: str) -> None:
    """What each tap is, in words, as it stands in tests/zoo/exports/taps.txt."""
    assert rows.table({name: rows.taps(name)}).splitlines() == section(name)


def section(name: str) -> list[str]:
    lines = (rows.FOLDER / "taps.txt").read_text(encoding="utf-8").splitlines()
    start = lines.index(name)
    after = [place for place in range(start + 1, len(lines)) if lines[place] in EXPORTS]
    return "\n".join(lines[start : after[0] if after else None]).rstrip().splitlines()


@pytest.mark.parametrize("name", EXPORTS)
def test_the_exports_still_compute_what_their_frameworks_gave(name: str) -> None:
    """onnxruntime, fed what the framework was fed, against the framework's mean and norm."""
    proto, known = rows.kept(name)
    values = rows.tensors(proto)
    for row, facts in known["rows"].items():
        bare = row.startswith("then__") or row.endswith("__alone")
        for tensor in [] if bare else [*facts["same"], *facts["reordered"]]:
            array = values[tensor]
            np.testing.assert_allclose(array.mean(), facts["mean"], rtol=1e-3, atol=1e-4, err_msg=row)
            np.testing.assert_allclose(np.linalg.norm(array), facts["norm"], rtol=1e-3, err_msg=row)


def test_what_begins_a_new_module_is_not_walked_through() -> None:
    found = rows.taps("torchscript-17")
    said = {row.removeprefix("then__"): words for row, (_, words) in found.items() if row.startswith("then__")}
    assert all(words.startswith("the operator's own output: ") for words in said.values()), said
    assert said["residual"].endswith("Add joins another branch")
    assert said["max_pool"].endswith("MaxPool follows")
    assert len(said) >= 17


REMADE = ["instance_affine__relu", "group__silu", "none__softsign", "batch__log_sigmoid", "then__squeeze_excitation"]


@pytest.mark.filterwarnings("ignore")  # the exporters' own
@pytest.mark.parametrize(("exporter", "options"), [("torchscript", "17"), ("dynamo", "")])
def test_exports_remade_by_pytorch(exporter: str, options: str) -> None:
    pytest.importorskip("torch")
    from exports.from_pytorch import exported

    check(exported(exporter, options, REMADE))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tail", ["conv", "pool"])
def test_exports_remade_by_keras(tail: str) -> None:
    pytest.importorskip("tf2onnx")
    from exports.from_keras import exported

    check(exported("tf2onnx", tail, ["layer_channels__relu", "none__hard_sigmoid", "batch__tanh_shrink"]))


def check(traced: rows.Traced) -> None:
    proto, known = rows.known(traced)
    layers = {layer.taps["conv"]: layer for layer in load(proto).layers}
    assert len(known) == len(traced.given) > 2
    for row, facts in known.items():
        assert layers[facts["conv"]].taps["activation"] in facts["same"], row


def test_nothing_runs_operators_that_do_not_exist() -> None:
    """Why Keras' GELU and CELU by tf2onnx are no rows."""
    proto, _ = rows.kept("tf2onnx")
    with pytest.raises(Exception, match=r"No Op registered for (Erfc|Expm1)"):
        onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
