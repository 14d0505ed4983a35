"""A conversion is compared with its source, on a toy framework: what differs is refused."""

import importlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from toy_framework import STAGES, Toy, ToySource, conv, files_below

import onnxviz
from onnxviz import ConversionError
from onnxviz.conversion.convert import conversion
from onnxviz.conversion.converter import Observed, SourceLayer, Traced

HARMS = {
    "one bit of a filter": r"the filters of 'body/second' \(5x4x3x3\) are not the layer's own",
    "filters flipped": r"the filters of 'body/second'",
    "one bit of a bias": r"the bias of 'body/first' is not the layer's own",
    "padding": r"first at 'body/second': its feature maps in shape: 2x5x5x7 instead of 2x5x3x5",
    "activation": r"first at 'body/second': its feature maps by 0\.\d+ of the largest value \(0.0001 is allowed\)",
    "both": r"first at 'body/second'",
    "output": r"output 'score' by [\d.]+ of the largest value \(0.0001 is allowed\), though every convolution agrees",
    "nan": r"output 'score' in values that are not finite",
    "unsteady": r"different outputs for the same input .*verify=False",
    "unsteady maps": r"different outputs for the same input",
    "a call too many": r"'body/first' runs 2 times there and 1 times in the graph",
    "never runs": r"the Toy model itself fails on its declared input: the toy is too small$",
    "no kernel in onnxruntime": r"onnxruntime cannot run the conversion, .*Twist.*verify=False",
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
    with pytest.raises(ConversionError, match=r"none of the sizes 64, 96, 128, 224 \(give one with input_sh"):
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
    assert conversion(Toy()).verification.maps == 2
    together = converter.opened.calls
    monkeypatch.setattr(importlib.import_module("onnxviz.conversion.verify"), "_GROUP_BYTES", 1)
    assert conversion(Toy()).verification.maps == 2
    assert converter.opened.calls > together


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
