"""What a conversion writes, on a toy framework: whole or not at all, however large."""

import errno
import importlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from toy_framework import STAGES, Toy, ToyConverter, ToySource, files_below

import onnxviz
from onnxviz import ConversionError, OnnxvizError
from onnxviz.conversion import convert as convert_room
from onnxviz.conversion.convert import conversion
from onnxviz.conversion.converter import SourceInput, SourceLayer, Traced

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
            "writing": (convert_room, "write_files", fail),
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

    as_ever = Path.open

    def full(self, mode="r", *arguments, **options):
        if "r" in mode:
            return as_ever(self, mode, *arguments, **options)
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
    monkeypatch.setattr(importlib.import_module("onnxviz.model.skeleton"), "MAX_MESSAGE_BYTES", 50_000)
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


def test_labels_are_kept_and_have_to_fit(toy, tmp_path):
    toy("")
    with pytest.raises(OnnxvizError, match="labels were given for"):
        onnxviz.convert(Toy(), output=tmp_path / "toy.onnx", labels=["a"] * 77)
    assert files_below(tmp_path) == []
