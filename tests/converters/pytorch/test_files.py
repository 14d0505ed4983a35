"""PyTorch models in files: weights, pickles, TorchScript, programs of torch.export."""

from __future__ import annotations

import copy
import sys
import zipfile

import numpy as np
import oracles
import pytest
from torch_checks import CLOSE, Calls, Twice, attached, check, conv, drawn, saved, small, told

from onnxviz.errors import CodeExecution, ConversionError

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from onnxviz_converters import pytorch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (lambda state: state, None),
        (lambda state: {"state_dict": state, "epoch": 3}, "entry 'state_dict'"),
        (lambda state: {"optimizer": {"state": {}}, "model": state, "args": ["a", 1]}, "entry 'model'"),
        (lambda state: {f"module.{k}": v for k, v in state.items()}, "'module.'"),
        (lambda state: {"state_dict": {f"model._orig_mod.{k}": v for k, v in state.items()}}, "'model._orig_mod.'"),
        (lambda state: {k: v.half() for k, v in state.items()}, "float16, the model's are float32"),
    ],
)
def test_weights_from_a_file(wrap, note, tmp_path):
    trained, module = small(seed=1), small(seed=2)
    before = copy.deepcopy(module.state_dict())
    path = saved(wrap(trained.state_dict()), tmp_path / "w.pth")
    source = pytorch.open(module, weights=path, input_shapes={"": (1, 3, 32, 32)})
    check(source)
    assert note is None or told(source, note)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    weights = source.trace(18).weights
    half = note is not None and "float16" in note
    for name, value in trained.state_dict().items():
        if name in weights:
            np.testing.assert_array_equal(weights[name], (value.half().float() if half else value).numpy(), strict=True)
    feeds = drawn(source, 2)
    with torch.no_grad():
        expected = trained.eval()(torch.from_numpy(feeds["x"])).numpy()
    assert oracles.relative(source.run(feeds).outputs[0], expected) <= (1e-2 if half else 1e-6)


def test_weights_keep_ties_and_parametrisations(tmp_path):
    torch.manual_seed(1)
    trained = nn.Sequential(Twice(), parametrizations.weight_norm(conv()))
    torch.manual_seed(2)
    other = nn.Sequential(Twice(), parametrizations.weight_norm(conv()))
    module = Calls(lambda self, x: self.part1(self.part0(x, x)["map"][:, :3]), *other)
    wanted = Calls(module.function, *trained)
    path = saved(wanted.state_dict(), tmp_path / "w.pt")
    source = pytorch.open(module, weights=path, input_shapes={"": (1, 3, 8, 8)})
    check(source)
    assert "part0.tied.weight" not in source.trace(18).weights
    np.testing.assert_array_equal(source.trace(18).weights["part1.weight"], wanted.part1.weight.detach().numpy())


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (lambda s: {k: v for k, v in s.items() if "bn" not in k}, ["missing blocks.0.bn1.weight", "and 11 more"]),
        (
            lambda s: {**s, **{f"extra{i}": torch.ones(1) for i in range(7)}},
            ["unexpected extra0, extra1", "and 2 more"],
        ),
        (lambda s: {**s, "fc.weight": torch.ones(9, 16)}, [r"of another shape fc.weight \(9x16, the model has 5x16\)"]),
        (lambda s: {"a": torch.ones(1)}, ["missing stem.0.weight", "unexpected a"]),
        (lambda s: {}, ["an empty mapping"]),
        (lambda s: {"epoch": 1, "best": 0.5}, ["a mapping of epoch, best, no state_dict"]),
        (lambda s: [1, 2], ["holds a list, no state_dict"]),
        (lambda s: torch.ones(3), ["holds a Tensor, no state_dict"]),
    ],
)
def test_weights_that_do_not_fit(change, texts, tmp_path):
    path = saved(change(small().state_dict()), tmp_path / "w.pth")
    for text in texts:
        with pytest.raises(ConversionError, match=text) as error:
            pytorch.open(small(), weights=path)
        assert "\n" not in str(error.value)
        assert "w.pth" in str(error.value)


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "w.safetensors"
    trained = small(seed=1)
    safetensors.save_file(trained.state_dict(), path)
    source = pytorch.open(small(), weights=path, input_shapes={"": (1, 3, 32, 32)})
    np.testing.assert_array_equal(source.trace(18).weights["fc.weight"], trained.fc.weight.detach().numpy())


def test_safetensors_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"")
    monkeypatch.setattr("onnxviz_converters.torch_files.find_spec", lambda name: None)
    with pytest.raises(ConversionError, match="pip install safetensors"):
        pytorch.open(small(), weights=path)


class Marks:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (exec, (f"open({self.path!r}, 'w').close()",))


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_is_not_loaded_without_permission(new_format, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "w.pt"
    torch.save({"w": Marks(mark)}, path, _use_new_zipfile_serialization=new_format)
    for options in ({"source": path}, {"source": small(), "weights": path}):
        with pytest.raises(CodeExecution, match=r"w.pt holds .*exec.*allow_code_execution=True") as error:
            pytorch.open(**options)
        assert error.value.exit_code == 3
        assert "\n" not in str(error.value)
    assert not mark.exists()


def test_a_pickled_module(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(conv(), nn.ReLU())
    path = saved(module, tmp_path / "m.pt")
    with pytest.raises(CodeExecution, match=r"torch\.nn\.modules\.container\.Sequential"):
        pytorch.open(path)
    check(pytorch.open(path, input_shapes={"": (1, 3, 8, 8)}, allow_code_execution=True))
    with pytest.raises(CodeExecution, match="Sequential"):
        pytorch.open(module, weights=path)
    check(pytorch.open(module, weights=path, allow_code_execution=True, input_shapes={"": (1, 3, 8, 8)}))


def test_a_state_dict_is_no_model(tmp_path):
    path = saved(small().state_dict(), tmp_path / "w.pt")
    with pytest.raises(ConversionError, match=r"no architecture.*module:factory.*weights="):
        pytorch.open(path)
    with pytest.raises(ConversionError, match="holds a Tensor, no model"):
        pytorch.open(saved(torch.ones(2), tmp_path / "t.pt"))
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 8)
    with pytest.raises(ConversionError, match="no architecture"):
        pytorch.open(tmp_path / "w.safetensors")


def test_a_pickle_of_nothing_and_a_folder(tmp_path):
    path = tmp_path / "m.pt"
    path.write_bytes(b"\x80\x02junk")
    with pytest.raises(ConversionError, match="cannot be read") as error:
        pytorch.open(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ConversionError, match="is not a file"):
        pytorch.open(tmp_path)


def test_a_damaged_archive(tmp_path):
    path = saved(small().state_dict(), tmp_path / "w.pt")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"junk")
        archive.writestr("m/version", b"3")
    with pytest.raises(ConversionError, match="cannot be read"):
        pytorch.open(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", b"junk")
    with pytest.raises(ConversionError, match="no file of PyTorch's"):
        pytorch.open(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("suffix", [".pt", ".torchscript"])
def test_torchscript(how, suffix, tmp_path):
    module = small().eval()
    path = tmp_path / f"m{suffix}"
    made = torch.jit.script(module) if how == "script" else torch.jit.trace(module, torch.rand(2, 3, 32, 32))
    made.save(str(path))
    assert pytorch.recognises(path)
    with pytest.raises(CodeExecution, match=r"TorchScript.*allow_code_execution=True"):
        pytorch.open(path)
    source = pytorch.open(path, input_shapes={"": (1, 3, 32, 32)}, allow_code_execution=True)
    model = check(source)
    assert source.inputs[0].shape == (None, 3, 32, 32)
    assert sorted(layer.name for layer in model.layers) == sorted(
        name for name, part in module.named_modules() if isinstance(part, nn.Conv2d)
    )
    assert len(source.layers) == 7
    assert all(one.observed for one in source.layers)
    for name, array in source.trace(18).weights.items():
        np.testing.assert_array_equal(array, module.state_dict()[name].numpy(), strict=True)
    with pytest.raises(ConversionError, match="TorchScript program has its weights"):
        pytorch.open(path, weights=path, allow_code_execution=True)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_that_is_frozen_or_refuses(tmp_path):
    path = tmp_path / "m.pt"
    torch.jit.freeze(torch.jit.script(small().eval())).save(str(path))
    source = pytorch.open(path, input_shapes={"": (1, 3, 32, 32)}, allow_code_execution=True)
    check(source)
    with pytest.raises(ConversionError, match="refuses an input of shape 1x5x32x32"):
        pytorch.open(path, input_shapes={"": (1, 5, 32, 32)}, allow_code_execution=True)


def exported(module, *, dynamic=True, path=None):
    shapes = ({0: torch.export.Dim("n")},) if dynamic else None
    program = torch.export.export(module, (torch.rand(2, 3, 32, 32),), dynamic_shapes=shapes)
    if path is not None:
        torch.export.save(program, path)
    return program


def test_a_program_of_torch_export(tmp_path):
    module = small().eval()
    path = tmp_path / "m.pt2"
    exported(module, path=path)
    with pytest.raises(CodeExecution, match=r"torch.export; .*allow_code_execution=True"):
        pytorch.open(path)
    source = pytorch.open(path, allow_code_execution=True)
    model = check(source)
    assert [layer.name for layer in model.layers][:2] == ["stem.0", "blocks.0.conv1"]
    assert len(source.layers) == 7
    assert all(one.observed for one in source.layers)
    assert model.inputs[0].shape == ("batch", 3, 32, 32)
    assert source.notes == []
    with pytest.raises(ConversionError, match=r"exported for \?x3x32x32, not 1x3x64x64"):
        pytorch.open(path, input_shapes={"": (1, 3, 64, 64)}, allow_code_execution=True)


def test_a_program_of_a_fixed_batch():
    program = exported(small().eval(), dynamic=False)
    source = pytorch.open(program)
    assert told(source, "batch of 2, which is fixed")
    assert source.inputs[0].shape == (2, 3, 32, 32)
    proto = attached(source.trace(18))
    feeds = drawn(source, 2)
    theirs = oracles.untouched(proto, ["output"], feeds)["output"]
    assert oracles.relative(theirs, source.run(feeds).outputs[0]) <= CLOSE


def test_a_program_in_training_mode():
    with pytest.raises(ConversionError, match=r"training mode.*model.eval\(\)"):
        pytorch.open(exported(small().train()))
