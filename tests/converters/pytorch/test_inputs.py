"""What goes into a PyTorch module and comes out: shapes, names, types; and one line where it cannot be converted."""

from __future__ import annotations

import collections
import dataclasses
import warnings

import numpy as np
import oracles
import pytest
from torch_checks import CLOSE, Calls, Small, Twice, attached, check, conv, drawn, small, told

from onnxviz.errors import ConversionError

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from onnxviz_converters import pytorch  # noqa: E402
from torch import nn  # noqa: E402


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Sequential(conv(1, 2)), (None, 1, 224, 224)),
        (lambda: nn.Sequential(conv(3, 2), nn.Flatten(), nn.Linear(2 * 32 * 32, 2)), (None, 3, 32, 32)),
        (lambda: nn.Sequential(conv(1, 2), nn.Flatten(), nn.Linear(2 * 28 * 28, 2)), (None, 1, 28, 28)),
        (lambda: nn.Sequential(nn.Conv1d(6, 2, 3)), (None, 6, 1024)),
        (lambda: nn.Sequential(nn.Conv3d(2, 2, 3)), (None, 2, 64, 64, 64)),
        (lambda: nn.Sequential(nn.PixelUnshuffle(2), conv(12, 2)), (None, 3, 224, 224)),
        (lambda: nn.Sequential(nn.Linear(7, 16), nn.Unflatten(1, (1, 4, 4)), conv(1, 2)), (None, 7)),
        (lambda: Calls(lambda self, x: self.part0(x), conv(), img_size=48), (None, 3, 48, 48)),
    ],
)
def test_a_shape_that_was_not_given(make, shape):
    source = pytorch.open(make())
    assert source.inputs[0].shape == shape
    assert told(source, f"{'x'.join(map(str, (1, *shape[1:])))} was assumed", "input_shape=")


def test_no_usual_shape_fits():
    with pytest.raises(ConversionError, match=r"input_shape=.*1x3x224x224.*cannot be multiplied"):
        pytorch.open(nn.Sequential(conv(), nn.Flatten(), nn.Linear(99, 1)))


def test_open_sizes():
    source = pytorch.open(nn.Sequential(conv(), nn.MaxPool2d(2)), input_shapes={"": (None, 3, None, None)})
    assert source.inputs[0].shape == (None, 3, None, None)
    model = check(source)
    assert model.inputs[0].shape == ("batch", 3, "height", "width")


def test_open_sizes_that_must_be_multiples():
    """A U-Net's sides: torch is given the relation that it asks for."""

    def forward(self, x):
        return torch.cat([x, self.part2(self.part1(self.part0(x)))], 1)

    module = Calls(forward, conv(3, 4), nn.MaxPool2d(2), nn.ConvTranspose2d(4, 2, 2, 2))
    source = pytorch.open(module, input_shapes={"": (None, 3, None, None)})
    model = check(source)
    assert model.inputs[0].shape == ("batch", 3, "height", "width")


def test_an_open_size_that_is_fixed():
    module = nn.Sequential(conv(), nn.Linear(32, 2))
    with pytest.raises(ConversionError, match=r"torch.export cannot follow Sequential: .*width"):
        pytorch.open(module, input_shapes={"": (1, 3, None, None)})


def test_a_batch_that_is_fixed():
    module = Calls(lambda self, x: torch.stack([self.part0(one[None])[0] for one in x]), conv())
    source = pytorch.open(module, input_shapes={"": (2, 3, 8, 8)})
    assert source.inputs[0].shape == (2, 3, 8, 8)
    assert told(source, "does not allow an open batch; it is fixed at 2")
    proto = attached(source.trace(18))
    feeds = drawn(source, 2)
    theirs = oracles.untouched(proto, ["output"], feeds)["output"]
    assert oracles.relative(theirs, source.run(feeds).outputs[0]) <= CLOSE


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, image, mask=None, *, gain=1.0):
        y = self.conv(image)
        return y * gain if mask is None else y * mask * gain


def test_parameters_that_need_not_be_given():
    for shapes, names in (
        ({"": (1, 3, 8, 8)}, ["image"]),
        ({"image": (1, 3, 8, 8), "mask": (1, 1, 8, 8)}, ["image", "mask"]),
        ({"image": (1, 3, 8, 8), "gain": (1, 1, 1, 1)}, ["image", "gain"]),
    ):
        source = pytorch.open(Optional(), input_shapes=shapes)
        assert [port.name for port in source.inputs] == names
        check(source)


class AnyArguments(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, *xs, **options):
        return self.conv(xs[0])


def test_a_forward_of_any_arguments():
    source = pytorch.open(AnyArguments(), input_shapes={"": (1, 3, 8, 8)})
    assert [port.name for port in source.inputs] == ["input"]
    check(source)


@dataclasses.dataclass
class Both:
    logits: torch.Tensor
    features: torch.Tensor


Pair = collections.namedtuple("Pair", "logits features")


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda x: x, ["output"]),
        (lambda x: (x, x + 1), ["output_0", "output_1"]),
        (lambda x: [x], ["output_0"]),
        (lambda x: {"out": x, "aux": (x + 1, None)}, ["out", "aux_0"]),
        (lambda x: Pair(x, x * 2), ["logits", "features"]),
        (lambda x: Both(x, x * 2), ["logits", "features"]),
        (lambda x: {"conv2d": x + 1, "x": x, "part0.weight": x}, ["conv2d", "x_output", "part0.weight_output"]),
        (lambda x: (x > 0, x.argmax(1)), ["output_0", "output_1"]),
    ],
)
def test_names_of_outputs(make, names):
    module = Calls(lambda self, x: make(self.part0(x)), conv())
    source = pytorch.open(module, input_shapes={"": (1, 3, 8, 8)})
    model = check(source)
    assert [port.name for port in model.outputs] == names


class Named(nn.Module):
    def forward(self, **named):
        return named["x"]


@pytest.mark.parametrize(
    ("module", "shapes", "text"),
    [
        (Twice, None, r"Twice takes 2 inputs \(left, right\).*input_shape="),
        (Twice, {"": (1, 3, 8, 8)}, "several: its forward takes left, right, scale"),
        (Twice, {"left": (1, 3, 8, 8)}, "'right' of Twice is missing"),
        (Twice, {"left": (1, 3, 8, 8), "up": (1,)}, "no input 'up': its forward takes left, right, scale"),
        (
            Small,
            {"": (1, 4, 32, 32)},
            r"Small refuses an input of shape 1x4x32x32: .*expected input.*to have 3 channels",
        ),
        (Small, {"": (1, 3)}, "Small refuses an input of shape 1x3: "),
        (Small, {"": (1, 3, 0, 8)}, "1x3x0x8 of input 'x' has a size below 1"),
        (lambda: Calls(lambda self, x: 3, conv()), None, "gives int, no tensor"),
        (lambda: Calls(lambda self, x: {"a": None}, conv()), {"": (1, 3, 8, 8)}, "gives dict, no tensor"),
        (lambda: Calls(lambda self, x: torch.fft.fft2(x), conv()), {"": (1, 3, 8, 8)}, "'output' of Calls is complex"),
        (lambda: Calls(lambda self, x: self.function(self, x), conv()), {"": (1, 3, 8, 8)}, "calls itself without end"),
        (
            lambda: Calls(lambda self, x: 1 / 0, conv()),
            {"": (1, 3, 8, 8)},
            r"ZeroDivisionError.*\(test_inputs.py.* in",
        ),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), None, "run the model once"),
        (lambda: nn.Sequential(conv()).to("meta"), None, "meta device"),
        (lambda: nn.Sequential(conv()).bfloat16(), None, r"bfloat16.*model.float\(\)"),
        (lambda: nn.Sequential(conv()).double(), None, r"float64.*model.float\(\)"),
        (Named, None, "forward of Named names no input"),
        (Named, {"": (1, 3, 8, 8)}, "forward of Named names no input"),
        (lambda: nn.Sequential(torch.jit.script(conv())), None, "'0' of Sequential is TorchScript inside a module"),
        (
            lambda: Calls(lambda self, x: self.part0(x) if x.sum() > 0 else self.part1(x), conv(), conv()),
            {"": (1, 3, 8, 8)},
            r"cannot follow Calls: .*data-dependent.*\(test_inputs.py:\d+ in",
        ),
    ],
)
def test_one_line_says_why_not(module, shapes, text, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = module()
    with pytest.raises(ConversionError, match=text) as error:
        pytorch.open(made, input_shapes=shapes)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    assert capfd.readouterr() == ("", "")


def test_an_operation_without_translation():
    module = nn.Sequential(conv(), Calls(lambda self, x: torch.linalg.svd(x)[1]))
    with pytest.raises(ConversionError, match=r"'1': aten\._linalg_svd has no translation") as error:
        pytorch.open(module, input_shapes={"": (1, 3, 8, 8)}).trace(18)
    assert "\n" not in str(error.value)


def test_a_convolution_in_a_type_that_cannot_run():
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.part0(x)

    with pytest.raises(ConversionError, match=r"the convolution computes in bfloat16.*autocast"):
        pytorch.open(Calls(forward, conv()), input_shapes={"": (1, 3, 8, 8)}).trace(18)


def test_nothing_is_printed_warned_or_logged(capfd, caplog, recwarn):
    def forward(self, x):
        print("from the model")
        return self.part0(x)

    source = pytorch.open(Calls(forward, conv()), input_shapes={"": (1, 3, 8, 8)})
    source.trace(18)
    out, err = capfd.readouterr()
    assert out == ""
    assert set(err.split("\n")) <= {"", "from the model"}
    assert not caplog.records
    assert not recwarn.list


def test_half_precision():
    torch.manual_seed(0)
    module = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU()).half()
    source = pytorch.open(module, input_shapes={"": (1, 3, 8, 8)})
    assert source.inputs[0].dtype == "float16"
    model = check(source, close=5e-3)
    assert model.layers[0].weight.dtype == np.float16


def test_other_memory_formats():
    torch.manual_seed(0)
    module = small().to(memory_format=torch.channels_last)
    check(pytorch.open(module, input_shapes={"": (1, 3, 32, 32)}))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_module_on_a_gpu():
    module = small().cuda()
    check(pytorch.open(module, input_shapes={"": (1, 3, 32, 32)}), close=1e-3)
    assert next(module.parameters()).is_cuda


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, where it compiles
def test_a_compiled_module():
    module = torch.compile(nn.Sequential(conv(), nn.ReLU()))
    model = check(pytorch.open(module, input_shapes={"": (1, 3, 8, 8)}))
    assert [layer.name for layer in model.layers] == ["0"]
