"""Defects of the graph, planted: what the specification forbids, what is unused, other domains, external data."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import onnx
import pytest
import zoo
from onnx import TensorProto, helper, numpy_helper
from planted import MODELS, audited, found, node, sample, tensor
from protos import normal, parsed

from onnxviz.errors import ModelError
from onnxviz.model.model import load

OWN = "G03,G04,G05,G06,G11"
ERROR, WARNING, NOTE = "error", "warning", "note"


@pytest.mark.parametrize("name", ["classifier", "unet"])
def test_the_sample_models_are_healthy(name):
    assert audited(MODELS / f"{name}.onnx", OWN).passed == tuple(OWN.split(","))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_zoo_has_no_error(name):
    audit = audited(zoo.model(name), OWN)
    assert not [one for one in audit.findings if one.severity.value == ERROR]
    assert not audit.not_run


# ---------------------------------------------------------------- G03


def wrong_attribute():
    model = sample()
    node(model, "Conv").attribute.append(helper.make_attribute("colour", 3))
    return model


def wrong_type():
    model = sample()
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


def wrong_size():
    model = sample()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 12
    return model


def unknown_operator():
    model = sample()
    node(model, "Relu").op_type = "Rule"
    return model


def unsorted():
    model = sample()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])
    return model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (wrong_attribute, "checker refuses.*colour"),
        (wrong_type, "shape inference refuses"),
        (wrong_size, "shape inference refuses.*12"),
        (unknown_operator, "checker refuses.*Rule"),
        (unsorted, "checker refuses.*sorted"),
    ],
)
def test_what_the_specification_forbids(model, said):
    (one,) = audited(model(), OWN).findings
    assert (one.code, one.severity.value) == ("G03", ERROR)
    assert re.search(said, one.message), one.message


def test_names_of_sizes_and_unknown_sizes_are_allowed():
    model = sample()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"
    assert found(model, OWN) == []


def test_external_data_are_found_beside_the_model(tmp_path):
    onnx.save(sample(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert audited(tmp_path / "m.onnx", OWN).passed == tuple(OWN.split(","))


# ---------------------------------------------------------------- G04


def with_domain(domain, count=1, *, used=True):
    model = sample()
    model.opset_import.append(helper.make_opsetid(domain, 1))
    if used:
        for number in range(count):
            node(model, "Relu", number).domain = domain
    return model


@pytest.mark.parametrize("count", [1, 2, 5])
def test_nodes_of_a_strangers_domain(count):
    (one,) = audited(with_domain("com.example", count), OWN).findings
    assert (one.code, one.severity.value, one.where, one.value) == ("G04", WARNING, "com.example", count)
    assert f"Relu ({count})" in one.message


def test_nodes_of_onnxruntimes_domain_are_a_note():
    model = sample()
    node(model, "Relu").CopyFrom(
        helper.make_node("QuickGelu", ["bn1"], ["relu1"], name="relu1", domain="com.microsoft", alpha=1.0)
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert found(model, OWN) == [("G04", NOTE)]


def test_a_domain_that_no_node_uses():
    assert found(with_domain("com.example", used=False), OWN) == []


def test_the_models_own_functions_are_no_strangers():
    assert not [code for code, _ in found(zoo.model("functions"), "G04") if code == "G04"]
    assert found(zoo.model("functions_by_hand"), "G04") == []


# ---------------------------------------------------------------- G05


def external(folder, *, pad=0):
    """The classifier with its weights in a file, behind so many bytes that no tensor uses; the model and its path."""
    path = folder / "m.onnx"
    (folder / "m.data").unlink(missing_ok=True)  # onnx appends to a file that is there
    onnx.save(sample(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    if pad:
        data = (folder / "m.data").read_bytes()
        (folder / "m.data").write_bytes(bytes(pad) + data)
        for stored in model.graph.initializer:
            for entry in stored.external_data:
                if entry.key == "offset":
                    entry.value = str(int(entry.value) + pad)
    return model, path


def audit_of(model, path):
    path.write_bytes(model.SerializeToString())
    return audited(path, OWN).findings


@pytest.mark.parametrize("share", [0.105, 0.5, 0.9])
def test_bytes_that_no_tensor_uses(tmp_path, share):
    external(tmp_path)
    size = (tmp_path / "m.data").stat().st_size
    pad = int(size * share / (1 - share)) // 4 * 4
    (one,) = audit_of(*external(tmp_path, pad=pad))
    assert (one.code, one.severity.value, one.where) == ("G05", NOTE, "m.data")
    assert one.value == pytest.approx(share, abs=2e-3)


def test_a_few_bytes_that_no_tensor_uses(tmp_path):
    external(tmp_path)
    size = (tmp_path / "m.data").stat().st_size
    assert audit_of(*external(tmp_path, pad=int(size * 0.095 / 0.905))) == ()


@pytest.mark.parametrize("flip", [0, 1000, -1])
def test_a_checksum_that_is_not_the_files(tmp_path, flip):
    model, path = external(tmp_path)
    data = bytearray((tmp_path / "m.data").read_bytes())
    told = hashlib.sha1(data).hexdigest()
    tensor(model, "conv1.weight").external_data.add(key="checksum", value=told)
    assert audit_of(model, path) == ()
    data[flip] ^= 1
    (tmp_path / "m.data").write_bytes(data)
    (one,) = audit_of(model, path)
    assert (one.code, one.severity.value, one.where) == ("G05", ERROR, "m.data")
    assert hashlib.sha1(data).hexdigest() in one.message
    assert told in one.message


def test_a_model_that_is_saved_twice_to_one_file(tmp_path):
    for _ in range(2):
        onnx.save(sample(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (one,) = audited(tmp_path / "m.onnx", OWN).findings
    assert (one.code, one.value) == ("G05", 0.5)


def test_tensors_that_lie_over_each_other(tmp_path):
    model, path = external(tmp_path)
    first, second = tensor(model, "bn1.bias"), tensor(model, "bn1.running_mean")
    place = {entry.key: entry.value for entry in first.external_data}
    for offset, expected in ((int(place["offset"]) + 4, [ERROR]), (int(place["offset"]), [])):
        for entry in second.external_data:
            if entry.key == "offset":
                entry.value = str(offset)
        assert [one.severity.value for one in audit_of(model, path)] == expected


# ---------------------------------------------------------------- G06


@pytest.mark.parametrize("count", [1, 2, 8])
def test_nodes_that_nothing_depends_on(count):
    model = sample()
    for number in range(count):
        model.graph.node.append(
            helper.make_node("Relu", ["conv2" if number == 0 else f"u{number}"], [f"u{number + 1}"])
        )
    (one,) = audited(model, OWN).findings
    assert (one.code, one.severity.value, one.value, one.where) == ("G06", NOTE, count, "u1")


@pytest.mark.parametrize("count", [1, 2, 8])
def test_initializers_that_nothing_reads(count):
    model = sample()
    model.graph.initializer.extend(numpy_helper.from_array(normal(10, 25), f"w{number}") for number in range(count))
    (one,) = audited(model, OWN).findings
    assert (one.code, one.severity.value, one.value, one.where) == ("G06", NOTE, count, "w0")
    assert f"{1000 * count:,} bytes" in one.message


def test_an_input_that_nothing_reads():
    model = sample()
    model.graph.input.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, [1]))
    (one,) = audited(model, OWN).findings
    assert (one.code, one.where) == ("G06", "scale")


def test_what_a_subgraph_reads_is_used():
    model = zoo.model("subgraphs")
    before = found(model, "G06")
    assert before == []


def test_an_output_that_is_not_read_belongs_to_a_node_that_is():
    model = parsed(
        "g (float[n,2,8,8] x) => (float[n,2,4,4] y) { y, i = MaxPool <kernel_shape=[2,2], strides=[2,2]> (x) }"
    )
    assert found(model, OWN) == []


# ---------------------------------------------------------------- G11


def listed(*names):
    model = sample()
    for name in names:
        stored = tensor(model, name)
        model.graph.input.append(helper.make_tensor_value_info(name, stored.data_type, list(stored.dims)))
    return model


@pytest.mark.parametrize("names", [("conv1.weight",), ("bn1.bias",), ("dense.weight", "dense.bias", "conv2.weight")])
def test_weights_that_are_inputs_too(names):
    (one,) = audited(listed(*names), OWN).findings
    assert (one.code, one.severity.value, one.value, one.where) == ("G11", WARNING, len(names), names[0])


def test_before_version_4_they_had_to_be():
    model = listed("conv1.weight")
    model.ir_version = 3
    assert found(model, "G11") == []


def test_other_constants_are_a_note():
    model = parsed("g (float[n,2] x, float[2] c) => (float[n,2] y) { y = Mul (x, c) }", c=np.ones(2, np.float32))
    assert found(model, OWN) == [("G11", NOTE)]


# ---------------------------------------------------------------- G12


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 98765432\n"


def test_a_git_lfs_pointer_is_named_as_such(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(POINTER)
    with pytest.raises(ModelError, match=r"Git-LFS pointer.*git lfs pull"):
        load(path)


def test_a_git_lfs_pointer_in_place_of_external_data(tmp_path):
    _, path = external(tmp_path)
    (tmp_path / "m.data").write_bytes(POINTER)
    with pytest.raises(ModelError, match=r"'m.data', which is a Git-LFS pointer.*git lfs pull"):
        load(path)
    (tmp_path / "m.data").write_bytes(b"version one" * 5)
    with pytest.raises(ModelError, match="the file is incomplete"):
        load(path)
