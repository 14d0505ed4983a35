"""A skeleton is the model: the same protobuf, with its large tensors left in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import specimens
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxviz.errors import ModelError
from onnxviz.model.graph.tensors import TensorFile
from onnxviz.model.model import load
from onnxviz.model.skeleton import INLINE_BYTES, embed_weights, read_skeleton


def whole(path: Path) -> onnx.ModelProto:
    """The skeleton of `path` with its weights put back."""
    chunks, moved = embed_weights(read_skeleton(path, str(path)), TensorFile(path.parent).bytes_of, "x.data")
    assert not moved
    return onnx.ModelProto.FromString(b"".join(chunks))


def saved(proto: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("name", zoo.NAMES)
def test_zoo_survives(name: str, tmp_path: Path) -> None:
    proto = zoo.model(name)
    assert whole(saved(proto, tmp_path)) == proto


@pytest.mark.parametrize("path", specimens.light() + specimens.silero(), ids=lambda path: path.stem)
def test_shipped_models_survive(path: Path) -> None:
    assert whole(path) == onnx.load(path)


def test_large_tensors_stay_in_the_file(tmp_path: Path) -> None:
    weight = np.arange(3 * INLINE_BYTES, dtype=np.float32).reshape(3, -1)
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(weight, "w")])
    path = saved(helper.make_model(graph), tmp_path)
    skeleton = read_skeleton(path, "m")
    assert skeleton.ByteSize() < 300
    entries = {e.key: e.value for e in skeleton.graph.initializer[0].external_data}
    raw = path.read_bytes()[int(entries["offset"]) : int(entries["offset"]) + int(entries["length"])]
    assert raw == weight.tobytes()
    assert entries["location"] == "model.onnx"


def everywhere() -> onnx.ModelProto:
    """A model with a large tensor in each place that can hold one."""
    rng = np.random.default_rng(0)

    def big(name: str) -> TensorProto:
        return numpy_helper.from_array(rng.standard_normal(600).astype(np.float32), name)

    def typed(name: str) -> TensorProto:
        return helper.make_tensor(name, TensorProto.FLOAT, [600], rng.standard_normal(600).tolist())

    sparse = helper.make_sparse_tensor(big("s"), numpy_helper.from_array(np.arange(600, dtype=np.int64)), [5000])
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [helper.make_node("Constant", [], ["o"], value=big(""))], "body", [], [out], [big("w2"), typed("w3")]
    )
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
        helper.make_node("Constant", [], ["k"], value=big("")),
        helper.make_node("f", [], ["z"], domain="local"),
    ]
    graph = helper.make_graph(nodes, "g", [], [], [big("w"), typed("t")])
    graph.sparse_initializer.append(sparse)
    function = helper.make_function(
        "local", "f", [], ["q"], [helper.make_node("Constant", [], ["q"], value=big(""))], [helper.make_opsetid("", 17)]
    )
    return helper.make_model(
        graph, functions=[function], opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    )


def test_every_place_that_holds_tensors(tmp_path: Path) -> None:
    proto = everywhere()
    path = saved(proto, tmp_path)
    skeleton = read_skeleton(path, "m")
    # 7 raw tensors of 2,400 bytes and one of indices leave; three typed ones stay inline.
    assert skeleton.ByteSize() < proto.ByteSize() - 7 * 2400 - 4800 + 8 * 100
    assert whole(path) == proto


shapes = st.lists(st.integers(0, 9), max_size=4)
arrays = st.builds(
    lambda shape, dtype, seed: np.random.default_rng(seed).integers(0, 100, shape).astype(dtype),
    shapes,
    st.sampled_from(["f4", "f8", "i8", "u1", "f2", "bool"]),
    st.integers(0, 99),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(arrays, max_size=5), st.text(max_size=20), st.integers(0, 3))
def test_any_model_survives(tmp_path_factory: pytest.TempPathFactory, tensors: list, text: str, depth: int) -> None:
    named = [numpy_helper.from_array(a, f"{text}{i}") for i, a in enumerate(tensors)]
    graph = helper.make_graph([], text or "g", [], [], named)
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", ["c"], [], then_branch=graph, name=text)], "g", [], [], named)
    proto = helper.make_model(graph, producer_name=text, doc_string=text)
    assert whole(saved(proto, tmp_path_factory.mktemp("m"))) == proto


def test_two_gigabytes_in_one_file(tmp_path: Path) -> None:
    """More than protobuf can hold: onnx.load fails on it, the skeleton does not even read it (the file is sparse)."""
    length = 2**31 + 4096
    head = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[length]).SerializeToString()

    def field(number: int, size: int) -> bytes:
        key, out = number << 3 | 2, b""
        for value in (key, size):
            while value > 0x7F:
                out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
            out += bytes([value])
        return out

    tensor = head + field(9, length)
    graph = field(5, len(tensor) + length)
    lead = field(7, len(graph) + len(tensor) + length) + graph + tensor
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.write(lead)
        file.truncate(len(lead) + length)
    model = load(path)
    assert model.constants.find(model.scope, "w").shape == (length,)
    assert model.constants.value(model.scope, "w")[-3:].tolist() == [0, 0, 0]


def test_save_beyond_two_gigabytes_uses_a_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxviz.model.skeleton.MAX_MESSAGE_BYTES", 8000)
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((30, 33)).astype(np.float32), n) for n in "abc"]
    proto = helper.make_model(helper.make_graph([], "g", [], [], weights))
    model = load(saved(proto, tmp_path))
    out = model.save(tmp_path / "out.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "out.onnx", "out.onnx.data"]
    for one, other in zip(onnx.load(out).graph.initializer, weights, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))
    entries = [
        {e.key: e.value for e in t.external_data} for t in onnx.load(out, load_external_data=False).graph.initializer
    ]
    assert {e["location"] for e in entries} == {"out.onnx.data"}
    assert all(int(e["offset"]) % 64 == 0 for e in entries)


def test_external_data_come_along_when_saved(tmp_path: Path) -> None:
    proto = zoo.model("classifier")
    source = tmp_path / "a"
    source.mkdir()
    onnx.save(
        zoo.model("classifier"), source / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    target = tmp_path / "b"
    target.mkdir()
    out = load(source / "m.onnx").save(target / "m.onnx")
    again = onnx.load(out)
    assert list(target.iterdir()) == [out]
    for one, other in zip(again.graph.initializer, proto.graph.initializer, strict=True):
        assert np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))


def test_symbolic_link_to_the_model_opens(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    blob = saved(zoo.model("classifier"), blobs)
    link = tmp_path / "link.onnx"
    link.symlink_to(blob)
    model = load(link)
    assert model.layers[0].weight.shape == (8, 3, 5, 5)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git-LFS"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        (b"PK\x03\x04rest", "zip"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"\x0b\x0c\x0d nonsense", "at byte 0"),
        (b"\x3a\xff\x01abc", "at byte 0 of 6"),
    ],
)
def test_what_is_not_a_model(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=says):
        load(path)
