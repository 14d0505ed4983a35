"""The core of `convert`, with a framework of its own: models of numpy and onnx alone, so that no other is needed."""

import errno
import importlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import tempfile
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper

import onnxviz
from onnxviz import CodeExecution, ConversionError, OnnxvizError, Preprocessing
from onnxviz.names import LAYER_KEY
from onnxviz.source import Observed, SourceInput, SourceLayer, SourceModel, Traced

# The package's attribute of this name is the function.
convert_room = importlib.import_module("onnxviz.convert")
conversion = convert_room.conversion
STAGES = ["opening", "tracing", "folding", "writing", "verifying"]
RNG = np.random.default_rng(41)


class Toy:
    """A model of the toy framework: two convolutions of 3x3 with ReLU, a mean over the map.

    Its weights are as a channels-last framework has them: (height, width, in, out).
    """

    def __init__(self, shape=(None, 3, 7, 9), dtype="float32", preprocessing=None):
        self.kernels = {
            "body/first": RNG.normal(0, 0.3, (3, 3, 3, 4)).astype(np.float32),
            "body/second": RNG.normal(0, 0.3, (3, 3, 4, 5)).astype(np.float32),
        }
        self.biases = {
            "body/first": RNG.normal(0, 0.1, 4).astype(np.float32),
            "body/second": RNG.normal(0, 0.1, 5).astype(np.float32),
        }
        self.shape, self.dtype, self.preprocessing = shape, dtype, preprocessing


def conv(x, kernel, bias):
    """A convolution by its definition: x (N, C, H, W), kernel (h, w, C, O), no padding."""
    windows = sliding_window_view(x, kernel.shape[:2], axis=(2, 3))
    return np.einsum("nchwyx,yxco->nohw", windows, kernel).astype(np.float32) + bias[None, :, None, None]


class ToySource(SourceModel):
    """What the toy converter opens; `harm` names what goes wrong in it."""

    framework = "Toy"

    def __init__(self, model, harm=""):
        self.model, self.harm = model, harm
        self.versions = {"toy": "1.5"}
        self.inputs = (SourceInput("image", model.shape, model.dtype),)
        self.preprocessing = model.preprocessing
        self.notes = ["a note of the toy's"]
        self.fed = []
        self.calls = 0
        self.layers = tuple(
            SourceLayer(
                path,
                f"{path}/kernel",
                lambda path=path: np.moveaxis(model.kernels[path], (-1, -2), (0, 1)),
                f"{path}/bias",
                lambda path=path: model.biases[path],
            )
            for path in model.kernels
        )

    def trace(self, opset):
        if self.harm == "tracing":
            raise ConversionError("the toy has an operation 'Twist' in body/second that ONNX lacks")
        nodes, last = [], "image"
        if self.model.dtype != "float32":
            nodes.append(helper.make_node("Cast", ["image"], ["real"], name="cast", to=TensorProto.FLOAT))
            last = "real"
        for path in self.model.kernels:
            turned = f"{path}/turned"
            nodes.append(helper.make_node("Transpose", [f"{path}/kernel"], [turned], perm=[3, 2, 0, 1]))
            nodes.append(helper.make_node("Conv", [last, turned, f"{path}/bias"], [f"{path}/out"], name=f"{path}/Conv"))
            nodes.append(helper.make_node("Relu", [f"{path}/out"], [f"{path}/relu"], name=f"{path}/Relu"))
            last = f"{path}/relu"
        nodes.append(helper.make_node("GlobalAveragePool", [last], ["mean"], name="mean"))
        nodes.append(helper.make_node("Flatten", ["mean"], ["score"], name="flatten"))
        names = ["batch", "channels", "height", "width"]
        dims = [name if size is None else size for name, size in zip(names, self.model.shape, strict=True)]
        element = helper.np_dtype_to_tensor_dtype(np.dtype(self.model.dtype))
        graph = helper.make_graph(
            nodes,
            "toy",
            [helper.make_tensor_value_info("image", element, dims)],
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, [dims[0], 5])],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        weights = {f"{path}/kernel": kernel for path, kernel in self.model.kernels.items()}
        weights.update({f"{path}/bias": bias for path, bias in self.model.biases.items()})
        self._harm_graph(proto, weights)
        return Traced(proto, weights)

    def _harm_graph(self, proto, weights):
        nodes = {node.name: node for node in proto.graph.node}
        if self.harm == "one bit of a filter":
            harmed = weights["body/second/kernel"].copy()
            harmed.view(np.uint32)[1, 2, 3, 4] ^= 1
            weights["body/second/kernel"] = harmed
        elif self.harm == "one bit of a bias":
            harmed = weights["body/first/bias"].copy()
            harmed.view(np.uint32)[2] ^= 1
            weights["body/first/bias"] = harmed
        elif self.harm == "filters flipped":
            weights["body/second/kernel"] = weights["body/second/kernel"][::-1]
        elif self.harm == "padding":
            nodes["body/second/Conv"].attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
        elif self.harm == "activation":
            nodes["body/first/Relu"].op_type = "Sigmoid"
        elif self.harm == "both":
            nodes["body/first/Relu"].op_type = "Sigmoid"
            nodes["body/second/Relu"].op_type = "Sigmoid"
        elif self.harm == "output":
            nodes["mean"].op_type = "GlobalMaxPool"
        elif self.harm == "no kernel in onnxruntime":
            nodes["mean"].op_type, nodes["mean"].domain = "Twist", "com.example"
            proto.opset_import.add(domain="com.example", version=1)

    def run(self, feeds, observe=()):
        self.fed.append({name: (array.shape, array.dtype.name) for name, array in feeds.items()})
        self.calls += 1
        x = feeds["image"].astype(np.float32)
        if self.harm == "never runs":
            raise ValueError("\nthe toy is too small\nfor anything")
        if self.harm == "needs 100" and x.shape[-1] < 100:
            raise ValueError("too small")
        maps = {}
        for path, kernel in self.model.kernels.items():
            x = conv(x, kernel, self.model.biases[path])
            maps[path] = [x]
            x = np.maximum(x, 0)
        score = x.mean((2, 3))
        if self.harm == "nan":
            score[-1, 2] = np.nan
        elif self.harm == "unsteady":
            score += np.random.default_rng(self.calls).normal(size=score.shape).astype(np.float32)
        elif self.harm == "unsteady maps":
            maps["body/first"][0] = x = RNG.normal(size=maps["body/first"][0].shape).astype(np.float32)
            score += x.mean()
        elif self.harm == "a call too many":
            maps["body/first"] *= 2
        return Observed([score], {path: maps[path] for path in observe})


class ToyConverter:
    """Converts `Toy` models, and `.toy` files, which are empty."""

    framework = "Toy"
    packages = ("json",)
    install = "onnxviz[toy]"

    def __init__(self, harm=""):
        self.harm = harm
        self.asked = {}

    def recognises(self, source):
        return isinstance(source, Toy) or (isinstance(source, Path) and source.suffix == ".toy")

    def open(self, source, *, weights=None, input_shapes=None, allow_code_execution=False):
        self.asked = {"weights": weights, "input_shapes": input_shapes, "allow": allow_code_execution}
        if self.harm == "opening":
            raise ConversionError("the toy is broken")
        if self.harm == "code":
            raise CodeExecution("the toy would run code: add --allow-code-execution")
        self.opened = ToySource(source if isinstance(source, Toy) else Toy(), self.harm)
        return self.opened


@pytest.fixture
def toy(monkeypatch):
    """Makes the toy converter the only one; gives a function that makes it harmful."""
    converter = ToyConverter()

    def harm(what):
        converter.harm = what
        return converter

    monkeypatch.setattr(convert_room, "converters", lambda: [converter])
    monkeypatch.setattr(convert_room, "_loaded", lambda: iter(()))
    return harm


@pytest.fixture
def scratch(monkeypatch, tmp_path):
    """The folder that temporary files are made in."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# ---------------------------------------------------------------- what a conversion gives


def test_a_model_is_converted_written_and_compared(toy, tmp_path):
    model, stages = Toy(), []
    toy("")
    done = conversion(model, output=tmp_path / "toy.onnx", on_stage=stages.append)
    assert stages == STAGES == list(done.seconds)
    assert done.files == [tmp_path / "toy.onnx"] == list(tmp_path.iterdir())
    onnx.checker.check_model(tmp_path / "toy.onnx", full_check=True)
    loaded = onnxviz.load(tmp_path / "toy.onnx")
    assert [layer.name for layer in loaded.layers] == ["body/first", "body/second"]
    for layer in loaded.layers:
        expected = np.moveaxis(model.kernels[layer.name], (-1, -2), (0, 1))
        np.testing.assert_array_equal(layer.weight, expected, strict=True)
        assert layer.weight_source == "initializer"
    x = RNG.normal(size=(3, 3, 7, 9)).astype(np.float32)
    maps = onnxviz.capture(loaded, x, at="conv")
    first = conv(x, model.kernels["body/first"], model.biases["body/first"])
    np.testing.assert_allclose(maps["body/first"], first, atol=1e-5)


def test_what_was_compared_is_told(toy):
    toy("")
    checked = conversion(Toy()).verification
    assert (checked.layers, checked.maps, checked.unused) == (2, 2, ())
    assert checked.filters_identical
    assert checked.inputs == "normal noise, seed 0: 1x3x7x9 and 2x3x7x9"
    assert 0 < checked.max_abs_diff < 1e-5
    assert 0 < checked.max_rel_diff < 1e-5
    assert checked.tolerance == 1e-4
    json.dumps(checked.as_dict(), allow_nan=False)


def test_the_document_has_the_keys_that_scripts_rely_on(toy):
    toy("")
    found = conversion(Toy()).as_dict()
    assert found["framework"] == "Toy"
    assert found["versions"] == {"toy": "1.5"}
    assert (found["source"], found["opset"], found["parameters"], found["layers"]) == ("Toy", 18, 297, 2)
    assert set(found["verification"]) >= {"inputs", "max_abs_diff", "max_rel_diff", "filters_identical", "seconds"}
    assert set(found["seconds"]) == set(STAGES)
    assert found["notes"] == ["a note of the toy's"]
    json.dumps(found, allow_nan=False)


def test_without_an_output_the_file_lives_as_long_as_the_model(toy, scratch):
    toy("")
    model = onnxviz.convert(Toy())
    assert isinstance(model, onnxviz.Model)
    (folder,) = scratch.iterdir()
    assert files_below(folder) == ["model.onnx"]
    assert model.layer("body/first").weight.shape == (4, 3, 3, 3)
    assert repr(model).startswith("Model('Toy'")
    del model
    assert files_below(scratch) == []


def test_the_model_says_what_it_comes_from(toy, tmp_path):
    toy("")
    onnxviz.convert(Toy(preprocessing=Preprocessing.parse("caffe")), output=tmp_path / "toy.onnx")
    proto = onnx.load(tmp_path / "toy.onnx")
    assert (proto.producer_name, proto.producer_version) == ("onnxviz", onnxviz.__version__)
    notes = {entry.key: entry.value for entry in proto.metadata_props}
    assert notes["onnxviz.source"] == "Toy, toy 1.5"
    assert json.loads(notes["onnxviz.preprocessing"])["name"] == "caffe"
    assert proto.opset_import[0].version == 18
    signed = {node.op_type: {e.key: e.value for e in node.metadata_props}.get(LAYER_KEY) for node in proto.graph.node}
    assert signed["Conv"] == "body/second"
    assert {tensor.name for tensor in proto.graph.initializer} == {
        f"body/{layer}/{part}" for layer in ("first", "second") for part in ("kernel", "bias")
    }


@pytest.mark.parametrize(("asked", "known", "kept"), [("torch", None, "torch"), ("torch", "caffe", "torch")])
def test_a_preprocessing_that_is_asked_for_counts_more_than_a_known_one(toy, asked, known, kept):
    toy("")
    model = Toy(preprocessing=known and Preprocessing.parse(known))
    done = conversion(model, preprocess=asked)
    assert done.model.preprocessing["name"] == kept
    assert done.verification.inputs.startswith("noise images")
    assert done.as_dict()["preprocessing"]["name"] == kept


def test_an_unknown_preprocessing_is_refused_before_anything_is_opened(toy):
    converter = toy("opening")
    with pytest.raises(OnnxvizError, match="sideways"):
        onnxviz.convert(Toy(), preprocess="sideways")
    assert converter.asked == {}


@pytest.mark.parametrize("opset", [13, 18, 23])
def test_every_opset_of_the_range(toy, opset):
    toy("")
    assert onnxviz.convert(Toy(), opset=opset).opset == {"": opset}


@pytest.mark.parametrize("opset", [0, 12, 24])
def test_other_opsets_are_refused(toy, opset):
    toy("")
    with pytest.raises(ConversionError, match=rf"opset {opset} is not supported; there are 13 to 23"):
        onnxviz.convert(Toy(), opset=opset)


# ---------------------------------------------------------------- comparing with the source

HARMS = {
    "one bit of a filter": r"the filters of 'body/second' \(5x4x3x3\) are not the layer's own",
    "filters flipped": r"the filters of 'body/second'",
    "one bit of a bias": r"the bias of 'body/first' is not the layer's own",
    "padding": r"first at 'body/second': its feature maps in shape: 2x5x5x7 instead of 2x5x3x5",
    "activation": r"first at 'body/second': its feature maps by 0\.\d+ of the largest value \(0.0001 is allowed\)",
    "both": r"first at 'body/second'",
    "output": r"output 'score' by [\d.]+ of the largest value \(0.0001 is allowed\), though every convolution agrees",
    "nan": r"output 'score' in values that are not finite",
    "unsteady": r"different outputs for the same input .*--no-verify",
    "unsteady maps": r"different outputs for the same input",
    "a call too many": r"'body/first' runs 2 times there and 1 times in the graph",
    "never runs": r"the Toy model itself fails on its declared input: the toy is too small$",
    "no kernel in onnxruntime": r"onnxruntime cannot run the conversion, .*Twist.*--no-verify",
}


@pytest.mark.parametrize(("harm", "message"), HARMS.items())
def test_a_conversion_that_differs_is_refused(toy, tmp_path, scratch, harm, message):
    toy(harm)
    with pytest.raises(ConversionError, match=message):
        onnxviz.convert(Toy(), output=tmp_path / "toy.onnx")
    assert files_below(tmp_path) == ["temporary"]
    with pytest.raises(ConversionError, match=message):
        onnxviz.convert(Toy())
    assert files_below(scratch) == []


@pytest.mark.parametrize("harm", [harm for harm in HARMS if harm != "tracing"])
def test_without_verification_it_is_written_all_the_same(toy, tmp_path, harm):
    toy(harm)
    done = conversion(Toy(), output=tmp_path / "toy.onnx", verify=False)
    assert done.verification is None
    assert done.as_dict()["verification"] is None
    assert list(done.seconds) == STAGES[:-1]
    onnx.load(tmp_path / "toy.onnx")


def test_nan_in_both_is_no_difference(toy):
    toy("")
    model = Toy()
    model.biases["body/second"][1] = np.nan
    assert conversion(model).verification.max_rel_diff < 1e-4


def test_an_open_size_is_tried_at_two_sizes_and_two_batches(toy):
    converter = toy("")
    done = conversion(Toy((None, 3, None, None)))
    fed = {shape for one in converter.opened.fed for shape, _ in one.values()}
    assert fed == {(1, 3, 64, 64), (2, 3, 96, 128)}
    assert done.verification.inputs == "normal noise, seed 0: 1x3x64x64 and 2x3x96x128"


def test_an_open_size_that_is_too_small_is_made_larger(toy):
    toy("needs 100")
    assert conversion(Toy((None, 3, None, None))).verification.inputs.endswith("1x3x128x128 and 2x3x160x192")


def test_an_open_size_that_never_fits_has_to_be_given(toy):
    toy("never runs")
    with pytest.raises(ConversionError, match=r"none of the sizes 64, 96, 128, 224 \(give one with --input-sh"):
        onnxviz.convert(Toy((None, 3, None, None)))


def test_a_fixed_batch_is_kept(toy):
    converter = toy("")
    done = conversion(Toy((4, 3, 7, 9)))
    assert {shape for one in converter.opened.fed for shape, _ in one.values()} == {(4, 3, 7, 9)}
    assert done.model.inputs[0].shape == (4, 3, 7, 9)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_inputs_of_other_types_are_fed_as_such(toy, dtype):
    converter = toy("")
    assert conversion(Toy(dtype=dtype)).verification.max_rel_diff < 1e-5
    assert {kind for one in converter.opened.fed for _, kind in one.values()} == {dtype}


def test_what_no_output_needs_is_told(toy, monkeypatch):
    toy("")
    extra = SourceLayer("body/spare", "body/spare/kernel", lambda: np.zeros((1, 1, 1, 1), np.float32))
    before = ToySource.__init__

    def with_spare(self, *arguments):
        before(self, *arguments)
        self.layers += (extra,)

    monkeypatch.setattr(ToySource, "__init__", with_spare)
    done = conversion(Toy())
    assert done.verification.unused == ("body/spare",)
    assert "body/spare" in done.notes[-1]


def test_maps_are_compared_in_groups_that_fit_the_budget(toy, monkeypatch):
    converter = toy("")
    monkeypatch.setattr(importlib.import_module("onnxviz.verify"), "_GROUP_BYTES", 1)
    assert conversion(Toy()).verification.maps == 2
    assert converter.opened.calls >= 2


class TiedSource(ToySource):
    """An encoder and a decoder that share one kernel: a convolution, a transposed one, the convolution again."""

    def __init__(self):
        model = Toy()
        del model.kernels["body/second"]
        super().__init__(model)
        kernel = model.kernels["body/first"]
        self.layers = (
            SourceLayer("tied", "tied/kernel", lambda: np.moveaxis(kernel, (-1, -2), (0, 1)), observed=False),
        )

    def trace(self, opset):
        nodes = [
            helper.make_node("Transpose", ["tied/kernel"], ["turned"], perm=[3, 2, 0, 1]),
            helper.make_node("Conv", ["image", "turned"], ["code"], name="encode"),
            helper.make_node("ConvTranspose", ["code", "turned"], ["back"], name="decode"),
        ]
        graph = helper.make_graph(
            nodes,
            "tied",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 7, 9])],
            [helper.make_tensor_value_info("back", TensorProto.FLOAT, ["batch", 3, 7, 9])],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return Traced(proto, {"tied/kernel": self.model.kernels["body/first"]})

    def run(self, feeds, observe=()):
        kernel = self.model.kernels["body/first"]
        code = conv(feeds["image"], kernel, np.zeros(4, np.float32))
        wide = np.pad(code, ((0, 0), (0, 0), (2, 2), (2, 2)))
        back = conv(wide, kernel[::-1, ::-1].transpose(0, 1, 3, 2), np.zeros(3, np.float32))
        return Observed([back], {})


def test_a_kernel_may_serve_a_convolution_and_a_transposed_one(toy, monkeypatch):
    converter = toy("")
    monkeypatch.setattr(converter, "open", lambda source, **options: TiedSource())
    done = conversion(Toy())
    assert done.verification.layers == 1
    assert [layer.op for layer in done.model.layers] == ["Conv", "ConvTranspose"]


# ---------------------------------------------------------------- nothing half-written


def fail_in(stage, monkeypatch):
    """Makes the stage raise something that nobody expects."""

    def fail(*arguments, **options):
        raise RuntimeError(f"a bug in {stage}")

    monkeypatch.setattr(
        *{
            "opening": (ToyConverter, "open", fail),
            "tracing": (ToySource, "trace", fail),
            "folding": (convert_room, "fold", fail),
            "writing": (convert_room, "embed_weights", fail),
            "verifying": (ToySource, "run", fail),
        }[stage]
    )


@pytest.mark.parametrize("stage", STAGES)
def test_whatever_fails_an_existing_output_stays_as_it_was(toy, tmp_path, scratch, monkeypatch, stage):
    toy("")
    output = tmp_path / "toy.onnx"
    output.write_bytes(b"what was there before")
    fail_in(stage, monkeypatch)
    # An error of the source's own code while it runs is the source's; any other is a bug and keeps its traceback.
    with pytest.raises(ConversionError if stage == "verifying" else RuntimeError, match=f"a bug in {stage}"):
        onnxviz.convert(Toy(), output=output)
    assert output.read_bytes() == b"what was there before"
    assert files_below(tmp_path) == ["temporary", "toy.onnx"]


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt_leaves_nothing(toy, tmp_path, scratch, monkeypatch, stage):
    toy("")

    def interrupted(name):
        if name == stage:
            raise KeyboardInterrupt

    for output in (tmp_path / "toy.onnx", None):
        with pytest.raises(KeyboardInterrupt):
            conversion(Toy(), output=output, on_stage=interrupted)
        assert files_below(tmp_path) == ["temporary"]


def test_a_full_disk_is_one_line(toy, tmp_path, monkeypatch):
    toy("")

    def full(self, *arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OnnxvizError, match=r"toy.onnx cannot be written: No space left"):
        onnxviz.convert(Toy(), output=tmp_path / "toy.onnx")
    assert files_below(tmp_path) == []


def test_an_existing_file_is_replaced(toy, tmp_path):
    toy("")
    output = tmp_path / "toy.onnx"
    output.write_bytes(b"old")
    assert conversion(Toy(), output=output).files == [output]
    assert len(onnxviz.load(output).layers) == 2
    assert files_below(tmp_path) == ["toy.onnx"]


def test_through_a_symbolic_link_its_target_is_replaced(toy, tmp_path):
    toy("")
    (tmp_path / "store").mkdir()
    real, link = tmp_path / "store" / "real.onnx", tmp_path / "link.onnx"
    real.write_bytes(b"old")
    link.symlink_to(real)
    done = conversion(Toy(), output=link)
    assert link.is_symlink()
    assert len(onnxviz.load(real).layers) == 2
    assert done.files == [link]
    assert files_below(tmp_path) == ["link.onnx", "store", "store/real.onnx"]


@pytest.mark.parametrize(
    ("where", "message"),
    [("folder.onnx", "it is a folder"), ("nowhere/toy.onnx", "there is no folder"), ("pipe.onnx", "device or a pipe")],
)
def test_an_impossible_output_is_refused_before_the_source_is_opened(toy, tmp_path, where, message):
    converter = toy("")
    (tmp_path / "folder.onnx").mkdir()
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(OnnxvizError, match=rf"{where} cannot be written: .*{message}"):
        onnxviz.convert(Toy(), output=tmp_path / where)
    assert converter.asked == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(toy, tmp_path):
    toy("")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OnnxvizError, match=r"cannot be written: Permission denied"):
            onnxviz.convert(Toy(), output=tmp_path / "toy.onnx")
    finally:
        tmp_path.chmod(0o700)


# ---------------------------------------------------------------- large models


class LargeSource(ToySource):
    """Convolutions with kernels of several hundred megabytes that take no memory: one row of numbers, repeated."""

    def __init__(self, sizes, width):
        super().__init__(Toy())
        self.inputs = (SourceInput("image", (None, width, 1, 1)),)
        row = np.random.default_rng(9).normal(size=width).astype(np.float32)
        self.weights = {
            f"large{k}/kernel": np.broadcast_to(np.roll(row, k)[None, :, None, None], (width, width, size, size))
            for k, size in enumerate(sizes)
        }
        self.layers = tuple(
            SourceLayer(name.partition("/")[0], name, lambda value=value: value) for name, value in self.weights.items()
        )

    def trace(self, opset):
        nodes, last = [], "image"
        for k, name in enumerate(self.weights):
            size = self.weights[name].shape[-1]
            pads = [size // 2] * 4
            nodes.append(helper.make_node("Conv", [last, name], [f"c{k}"], name=f"n{k}", pads=pads))
            last = f"c{k}"
        graph = helper.make_graph(
            nodes,
            "large",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *self.inputs[0].shape[1:]])],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", *self.inputs[0].shape[1:]])],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return Traced(proto, self.weights)


def test_weights_lie_beside_a_model_that_one_message_cannot_hold(toy, monkeypatch, tmp_path):
    converter = toy("")
    source = LargeSource([3, 3], 32)
    monkeypatch.setattr(converter, "open", lambda given, **options: source)
    monkeypatch.setattr(importlib.import_module("onnxviz.skeleton"), "MAX_MESSAGE_BYTES", 50_000)
    (tmp_path / "store").mkdir()
    link = tmp_path / "large.onnx"
    link.symlink_to(tmp_path / "store" / "real.onnx")
    done = conversion(Toy(), output=link, verify=False)
    assert files_below(tmp_path / "store") == ["real.onnx", "real.onnx.data"]
    assert done.files == [link, tmp_path / "store" / "real.onnx.data"]
    for layer in onnxviz.load(link).layers:
        np.testing.assert_array_equal(layer.weight, source.weights[f"{layer.name}/kernel"])
    # A failure afterwards leaves both files as they are.
    before = [path.read_bytes() for path in done.files]
    fail_in("writing", monkeypatch)
    with pytest.raises(RuntimeError):
        conversion(Toy(), output=link, verify=False)
    assert [path.read_bytes() for path in done.files] == before
    assert files_below(tmp_path / "store") == ["real.onnx", "real.onnx.data"]


@pytest.mark.slow
def test_a_model_of_three_gigabytes(toy, monkeypatch, tmp_path):
    room = shutil.disk_usage(tmp_path).free
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    if room < 8e9 or memory < 8e9:
        pytest.skip(f"needs 8 GB of disk and of memory; {room / 1e9:.1f} and {memory / 1e9:.1f} GB are free")
    converter = toy("")
    source = LargeSource([3, 3, 3, 3, 3], 4096)
    assert sum(value.nbytes for value in source.weights.values()) > 3e9
    monkeypatch.setattr(converter, "open", lambda given, **options: source)
    done = conversion(Toy(), output=tmp_path / "large.onnx", verify=False)
    assert [path.name for path in done.files] == ["large.onnx", "large.onnx.data"]
    assert done.files[0].stat().st_size < 10_000
    assert done.files[1].stat().st_size > 3e9
    model = onnxviz.load(tmp_path / "large.onnx")
    assert [layer.name for layer in model.layers] == [f"large{k}" for k in range(5)]
    for layer in model.layers:
        assert layer.weight_shape == (4096, 4096, 3, 3)
        np.testing.assert_array_equal(layer.weight[::64], source.weights[f"{layer.name}/kernel"][::64])


# ---------------------------------------------------------------- the input's shape


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("1x3x224x192", {"": (1, 3, 224, 192)}),
        ("?X3×64x?", {"": (None, 3, 64, None)}),
        ("7", {"": (7,)}),
        ("a=1x3x8x8,b=1x10", {"a": (1, 3, 8, 8), "b": (1, 10)}),
        ("a = x=1x2", {"a = x": (1, 2)}),
        ((1, 3, 8, None), {"": (1, 3, 8, None)}),
        ([1, 3], {"": (1, 3)}),
        ({"a": [1, 3], "b": (None, 2)}, {"a": (1, 3), "b": (None, 2)}),
    ],
)
def test_how_a_shape_is_written(toy, given, expected):
    converter = toy("opening")
    with pytest.raises(ConversionError, match="the toy is broken"):
        onnxviz.convert(Toy(), input_shape=given)
    assert converter.asked["input_shapes"] == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", r"'' is not a shape"),
        ("1x3xax4", r"'1x3xax4' is not a shape; write sizes with the batch first"),
        ("1x-3", r"'1x-3' is not a shape"),
        ("0x3", r"'0x3' is not a shape"),
        ("1,3,224,224", r"gives two shapes without names"),
        ("a=1x3,a=1x4", r"names an input twice"),
        ("a=1x3,b", r"'b' is not a shape"),
        ("1x3.5", r"is not a shape"),
        ("1x9999999", r"is not a shape"),
        ((1, 3, "x"), r"is not a shape"),
        ((1, -3), r"is not a shape"),
        ((1, 2.5), r"is not a shape"),
        ({"a": 5}, r"is not a shape"),
        (224, r"is not a shape"),
    ],
)
def test_a_shape_that_is_none(toy, given, message):
    toy("")
    with pytest.raises(ConversionError, match=message):
        onnxviz.convert(Toy(), input_shape=given)


def test_options_reach_the_converter(toy, tmp_path):
    converter = toy("")
    onnxviz.convert(Toy(), weights="w.bin", allow_code_execution=True, verify=False)
    assert converter.asked == {"weights": Path("w.bin"), "input_shapes": None, "allow": True}


def test_code_is_not_run_unless_allowed(toy):
    toy("code")
    with pytest.raises(CodeExecution, match="--allow-code-execution") as caught:
        onnxviz.convert(Toy())
    assert caught.value.exit_code == 3


# ---------------------------------------------------------------- what can be converted

MODULE = """
import sys
from test_convert import Toy

count = 0

def factory(*arguments, **keywords):
    global count
    count += 1
    made = Toy()
    made.given = arguments, keywords
    return made

class Nested:
    inner = Toy()
    build = staticmethod(factory)

instance = Toy()
number = 5

def fails():
    raise ValueError("the weights are\\nelsewhere")

def leaves():
    sys.exit(3)

def nothing():
    pass
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """The folder of `toys.py`, as the user's folder."""
    (tmp_path / "toys.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("value = 1 / 0\n", encoding="utf-8")
    (tmp_path / "needy.py").write_text("import surely_not_installed\n", encoding="utf-8")
    (tmp_path / "leaving.py").write_text("raise SystemExit(4)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry not in ("", str(tmp_path))])
    yield tmp_path
    for name in ("toys", "broken", "needy", "leaving"):
        __import__("sys").modules.pop(name, None)


@pytest.mark.parametrize(
    "source",
    [
        "toys:factory",
        "toys:instance",
        "toys:factory()",
        "toys:Nested.inner",
        "toys:Nested.build",
        "toys:Nested.build()",
    ],
)
def test_code_that_makes_a_model(toy, code, source):
    toy("")
    done = conversion(source)
    assert done.source == source
    assert len(done.model.layers) == 2


def test_a_call_has_literal_arguments(toy, code):
    converter = toy("")
    onnxviz.convert("toys:factory(3, 'text', (1, None), size=-2.5, flags={'a': [True]})", verify=False)
    assert converter.opened.model.given == ((3, "text", (1, None)), {"size": -2.5, "flags": {"a": [True]}})


@pytest.mark.parametrize(
    "call",
    [
        "(open('x'))",
        "(__import__('os'))",
        "(x)",
        "(1 + y)",
        "(**{'a': 1})",
        "(*[1])",
        "(f'{1}')",
        "(lambda: 0)",
        "(]",
        "()()",
    ],
)
def test_nothing_but_literals_is_evaluated(toy, code, call):
    toy("")
    with pytest.raises(ConversionError, match=r"are not literals; write numbers, text|there is no file"):
        onnxviz.convert(f"toys:factory{call}")
    module = __import__("sys").modules.get("toys")
    assert module is None or module.count == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("toys:missing", r"toys has no 'missing'; it has factory, Nested, fails, leaves, nothing"),
        ("toys:Nested.missing", r"toys has no 'Nested.missing'"),
        ("toys:number", r"toys:number is a int, neither a model nor a callable"),
        ("toys:instance()", r"toys:instance is a Toy, neither a model nor a callable|failed"),
        ("toys:fails", r"toys:fails failed: ValueError: the weights are$"),
        ("toys:leaves", r"toys:leaves failed: SystemExit"),
        ("toys:nothing", r"toys:nothing is of type NoneType, which no converter knows; there are converters for Toy"),
        ("broken:x", r"importing broken failed: ZeroDivisionError: division by zero"),
        ("leaving:x", r"importing leaving failed: SystemExit"),
        ("needy:x", r"needy needs 'surely_not_installed', which is not installed"),
        ("surely_not_installed:x", r"there is no module 'surely_not_installed', here \(.*\) or installed"),
        ("surely_not.installed:x", r"there is no module 'surely_not.installed'"),
        ("nothing-here.keras", r"there is no file nothing-here.keras; code that makes a model is named module:factory"),
        ("toys", r"there is no file toys;"),
        ("toys:", r"there is no file toys:;"),
        ("", r"\. is not a kind of file that a converter knows"),
        ("a\x1b[31mb", r"there is no file a\ufffd\[31mb"),
        ("notes.txt", r"notes.txt is not a kind of file that a converter knows \(Toy\): give"),
        ("folder", r"folder is not a kind of file that a converter knows"),
        ("model.onnx", r"model.onnx is an ONNX model already: onnxviz layers, filters and maps read it"),
    ],
)
def test_a_source_that_is_none(toy, code, source, message):
    toy("")
    (code / "notes.txt").write_text("hello", encoding="utf-8")
    (code / "model.onnx").write_bytes(b"")
    (code / "folder").mkdir()
    with pytest.raises(ConversionError, match=message):
        onnxviz.convert(source)


@pytest.mark.parametrize("source", [None, 5, b"bytes", [], object()])
def test_an_object_that_is_no_model(toy, source):
    toy("")
    with pytest.raises(ConversionError, match=f"is of type {type(source).__name__}, which no converter knows"):
        onnxviz.convert(source)


def test_a_file_goes_to_the_converter_that_knows_it(toy, tmp_path):
    toy("")
    path = tmp_path / "a.toy"
    path.touch()
    for source in (path, str(path)):
        assert conversion(source, verify=False).source == str(path)


# ---------------------------------------------------------------- converters and frameworks


def test_the_converters_of_the_package_are_registered():
    entries = {entry.name: entry.value for entry in importlib.metadata.entry_points(group="onnxviz.converters")}
    assert entries.items() >= {"keras": "onnxviz_converters.keras", "pytorch": "onnxviz_converters.pytorch"}.items()
    found = {one.framework: one for one in convert_room.converters()}
    assert set(found) >= {"Keras", "PyTorch"}
    assert found["Keras"].install == "onnxviz[keras]"
    assert found["PyTorch"].install == "onnxviz[pytorch]"


@pytest.fixture
def registered(monkeypatch, tmp_path):
    """Registers converters under the group's name: modules, from source code."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def register(**modules):
        entries = []
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
            names.append(name)
            entries.append(importlib.metadata.EntryPoint(name.removeprefix("c_"), name, "onnxviz.converters"))
        monkeypatch.setattr(
            convert_room, "entry_points", lambda group: entries if group == "onnxviz.converters" else []
        )

    yield register
    for name in names:
        __import__("sys").modules.pop(name, None)


THIRD = """
    from pathlib import Path
    from test_convert import Toy, ToySource
    framework, packages, install = "Third", (), "third-converter"

    def recognises(source):
        return isinstance(source, Path) and source.suffix == ".third"

    def open(source, *, weights=None, input_shapes=None, allow_code_execution=False):
        return ToySource(Toy())
"""


def test_a_converter_of_others_is_found(registered, tmp_path):
    registered(c_third=THIRD)
    path = tmp_path / "model.third"
    path.touch()
    assert len(onnxviz.convert(path).layers) == 2


def test_a_converter_that_fails_does_not_hide_the_others(registered, tmp_path):
    registered(c_broken="raise RuntimeError('my cat\\nate it')", c_empty="", c_third=THIRD)
    (tmp_path / "model.third").touch()
    assert len(onnxviz.convert(tmp_path / "model.third").layers) == 2
    (tmp_path / "model.fourth").touch()
    with pytest.raises(ConversionError) as caught:
        onnxviz.convert(tmp_path / "model.fourth")
    message = str(caught.value)
    assert "a converter knows (Third)" in message
    assert "the converter 'broken' is broken: RuntimeError: my cat" in message
    assert "the converter 'empty' is broken: it lacks what a converter has" in message
    with pytest.raises(ConversionError, match="converter 'broken' is broken"):
        onnxviz.convert(5)


def test_without_a_converter_that_is_said(registered, tmp_path):
    registered()
    with pytest.raises(ConversionError, match=r"no converter knows; there are converters for none is installed"):
        onnxviz.convert(5)


def test_the_first_of_two_converters_that_know_a_source_is_taken(monkeypatch):
    first, second = ToyConverter(), ToyConverter("opening")
    monkeypatch.setattr(convert_room, "converters", lambda: [first, second])
    assert len(onnxviz.convert(Toy()).layers) == 2
    monkeypatch.setattr(convert_room, "converters", lambda: [second, first])
    with pytest.raises(ConversionError, match="the toy is broken"):
        onnxviz.convert(Toy())


def test_the_second_of_two_is_taken_where_the_first_does_not_know_the_source(monkeypatch):
    stranger = ToyConverter()
    monkeypatch.setattr(stranger, "recognises", lambda source: False)
    monkeypatch.setattr(convert_room, "converters", lambda: [stranger, ToyConverter()])
    assert len(onnxviz.convert(Toy()).layers) == 2


def without(monkeypatch, *missing):
    """As if the packages were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in missing else find(name, *rest))


@pytest.mark.parametrize(
    ("file", "missing", "message"),
    [
        ("model.keras", ["keras"], r"converting from Keras needs keras: pip install 'onnxviz\[keras\]'"),
        ("model.h5", ["tf2onnx", "tensorflow"], r"needs tensorflow, tf2onnx: pip install 'onnxviz\[keras\]'"),
        ("model.pt2", ["torch"], r"converting from PyTorch needs torch.*: pip install 'onnxviz\[pytorch\]'"),
    ],
)
def test_a_missing_framework_is_named_with_what_to_install(monkeypatch, tmp_path, file, missing, message):
    without(monkeypatch, *missing)
    (tmp_path / file).touch()
    with pytest.raises(ConversionError, match=message):
        onnxviz.convert(tmp_path / file)


@pytest.mark.parametrize(("source", "extra"), [("keras.applications:VGG16", "keras"), ("torch.nn:Identity", "pytorch")])
def test_a_missing_framework_behind_code_is_named_too(monkeypatch, source, extra):
    package = source.partition(".")[0]

    def absent(name):
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)

    monkeypatch.setattr(convert_room.importlib, "import_module", absent)
    with pytest.raises(ConversionError, match=rf"needs {package}: pip install 'onnxviz\[{extra}\]'"):
        onnxviz.convert(source)


def test_the_toys_of_this_file_are_what_a_converter_is():
    from onnxviz.source import Converter

    assert isinstance(ToyConverter(), Converter)
    assert not isinstance(SimpleNamespace(framework="x"), Converter)
