"""A PyTorch model that is ready to be traced, run and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxscript
import torch
from numpy.typing import NDArray
from torch import nn

from onnxviz.conversion.converter import InputShape, Observed, SourceLayer, SourceModel, Traced
from onnxviz.errors import ConversionError
from onnxviz.inputs.preprocessing import NAMED, Preprocessing
from onnxviz.messages import dims, option
from onnxviz_converters.torch_errors import located, reason
from onnxviz_converters.torch_graph import as_array, translate
from onnxviz_converters.torch_inputs import device, feed, tensors
from onnxviz_converters.torch_program import Convolution, Program, capture, convolutions, given_program
from onnxviz_converters.torch_state import State, at_rest, fitted, plain_state, quiet, unwrapped

# Gives outputs and observed maps for tensors by input name.
Runner = Callable[[Mapping[str, torch.Tensor], Sequence[str]], tuple[list[torch.Tensor], dict[str, list[torch.Tensor]]]]
_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class TorchModel(SourceModel):
    """A captured PyTorch model.

    Attributes:
        framework: "PyTorch".
    """

    framework = "PyTorch"

    def __init__(
        self,
        program: Program,
        layers: tuple[SourceLayer, ...],
        runner: Runner,
        place: torch.device,
        preprocessing: Preprocessing | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.versions = {
            "torch": torch.__version__,
            "onnxscript": onnxscript.__version__,
            "onnx": onnx.__version__,
        }
        self.inputs = program.inputs
        self.layers = layers
        self.preprocessing = preprocessing
        self.notes = [*notes, *program.notes]
        self._program = program
        self._runner = runner
        self._place = place

    def trace(self, opset: int) -> Traced:
        """The graph, and the weights it reads, which share memory with the model's where that is the CPU's.

        Raises:
            ConversionError: an operation without translation; the message names module and operation.
        """
        with quiet(), torch.no_grad():
            return translate(self._program, opset)

    def run(self, feeds: Mapping[str, NDArray[Any]], observe: Sequence[str] = ()) -> Observed:
        """What the model computes in evaluation mode.

        Args:
            feeds: arrays by input name.
            observe: paths of observed layers.

        Raises:
            ConversionError: the model refuses the input.
        """
        given = {name: _as_tensor(array).to(self._place) for name, array in feeds.items()}
        try:
            outputs, maps = self._runner(given, observe)
        except Exception as error:  # a stranger's code raises anything
            shown = ", ".join(dims(array.shape) for array in feeds.values())
            raise ConversionError(f"the model refuses an input of shape {shown}: {located(error)}") from None
        return Observed(
            [as_array(output) for output in outputs],
            {path: [as_array(tensor) for tensor in found] for path, found in maps.items()},
        )


def of_module(
    module: nn.Module, input_shapes: Mapping[str, InputShape] | None, loaded: object = None, where: str = ""
) -> TorchModel:
    """A module, with `loaded` weights from `where` if there are any.

    Raises:
        ConversionError: it cannot be run or captured, or the weights do not fit.
    """
    module = unwrapped(module)
    _check(module)
    notes: list[str] = []
    state: State | None = None
    if loaded is not None:
        state, notes = plain_state(loaded, where)
        state, more = fitted(module, state, where)
        notes += more
    with at_rest(module, state):
        fed = feed(module, input_shapes)
        program = capture(module, fed)
        parts = dict(module.named_modules())
        layers = [
            _layer(program, found, part.weight, part.bias)
            for found in convolutions(program)
            if isinstance(part := parts.get(found.path), _KINDS)
        ]
    preprocessing, note = _preprocessing(module)
    notes += note

    def runner(
        given: Mapping[str, torch.Tensor], observe: Sequence[str]
    ) -> tuple[list[torch.Tensor], dict[str, list[torch.Tensor]]]:
        maps: dict[str, list[torch.Tensor]] = {path: [] for path in observe}
        with at_rest(module, state):
            for path, found in maps.items():
                module.get_submodule(path).register_forward_hook(_collect(found), prepend=True)
            arguments, named = fed.arguments(given)
            result = module(*arguments, **named)
            return [tensor.clone() for _, tensor in tensors(result)], maps

    return TorchModel(program, tuple(layers), runner, device(module), preprocessing, notes)


def of_program(exported: torch.export.ExportedProgram, input_shapes: Mapping[str, InputShape] | None) -> TorchModel:
    """A program of torch.export, whose open and fixed sizes are as they were exported.

    Raises:
        ConversionError: it cannot be converted, or was exported for another shape.
    """
    program = given_program(exported)
    for given, shape in (input_shapes or {}).items():
        port = next((one for one in program.inputs if one.name == given), program.inputs[0] if not given else None)
        if port is None:
            raise ConversionError(
                f"the program has no input '{given}'; it has {', '.join(i.name for i in program.inputs)}"
            )
        if len(shape) != len(port.shape) or any(
            size is not None and have is not None and size != have
            for size, have in zip(shape[1:], port.shape[1:], strict=True)
        ):
            raise ConversionError(f"the program was exported for {dims(port.shape)}, not {dims(shape)}")
    return _of_graph(program, exported.module(), None, [])


def of_script(script: torch.jit.ScriptModule, input_shapes: Mapping[str, InputShape] | None) -> TorchModel:
    """A TorchScript program, through torch's converter to torch.export.

    Raises:
        ConversionError: it cannot be run, or has what torch.export has no counterpart for.
    """
    from torch._export.converter import TS2EPConverter  # what torch.export names in its own message

    script.eval()
    method: Any = script.forward
    names = tuple(str(argument.name) for argument in method.schema.arguments[1:])
    with torch.no_grad():
        fed = feed(script, input_shapes, names)
        arguments = tuple(torch.cat([given.example] * 2) if given.shape else given.example for given in fed.inputs)
        module: Any = None
        for examples in (arguments, tuple(given.example for given in fed.inputs)):
            try:
                module = TS2EPConverter(script, examples, {}).convert().module()
                break
            except Exception as error:  # unknown operators, control flow
                failure = error
        if module is None:
            raise ConversionError(f"torch cannot convert this TorchScript program: {reason(failure)}")
        with at_rest(module):
            program = capture(module, fed)

    def compute(given: Mapping[str, torch.Tensor]) -> object:
        return script(*given.values())

    notes = ["a TorchScript program was converted through torch.export"]
    return _of_graph(program, module, compute, notes)


def _of_graph(
    program: Program,
    module: nn.Module,
    compute: Callable[[Mapping[str, torch.Tensor]], object] | None,
    notes: list[str],
) -> TorchModel:
    """A model that has no modules any more; its maps are those of the program, node by node."""
    exported = program.exported
    stored: dict[str, Any] = {**exported.state_dict, **exported.constants}
    found = [one for one in convolutions(program) if one.weight in stored]
    layers = tuple(_layer(program, one, stored[one.weight], stored.get(one.bias or "")) for one in found)
    calls = {one.path: one.nodes for one in found}
    graph: Any = exported.module()

    def runner(
        given: Mapping[str, torch.Tensor], observe: Sequence[str]
    ) -> tuple[list[torch.Tensor], dict[str, list[torch.Tensor]]]:
        with quiet(), torch.no_grad():
            watch = _Watch(graph, {node for path in observe for node in calls[path]})
            result = watch.run(*given.values()) if observe or compute is None else None
            if compute is not None:
                result = compute(given)
            outputs = [tensor.clone() for _, tensor in tensors(result)]
        return outputs, {path: [watch.seen[node] for node in calls[path]] for path in observe}

    return TorchModel(program, layers, runner, _place(stored), None, notes)


class _Watch(torch.fx.Interpreter):
    """Runs a program and keeps the output of some nodes."""

    def __init__(self, graph: torch.fx.GraphModule, nodes: set[str]) -> None:
        super().__init__(graph)
        self.seen: dict[str, torch.Tensor] = {}
        self._nodes = nodes

    def run_node(self, n: torch.fx.Node) -> Any:
        """The node's output, copied when it is one to keep, since a later node may write to it."""
        result = super().run_node(n)
        if n.name in self._nodes:
            self.seen[n.name] = result.detach().clone()
        return result


def _layer(program: Program, found: Convolution, weight: torch.Tensor, bias: torch.Tensor | None) -> SourceLayer:
    kept = bias if found.bias is not None else None
    return SourceLayer(
        found.path,
        program.name(found.weight),
        lambda: _kernel(as_array(weight), found),
        program.name(found.bias) if found.bias is not None and kept is not None else None,
        (lambda: as_array(kept)) if kept is not None else None,
        observed=found.last,
    )


def _kernel(array: NDArray[Any], found: Convolution) -> NDArray[Any]:
    """A weight as (O, I/group, spatial…); torch stores that of a transposed convolution as (I, O/group, spatial…)."""
    if not found.transposed:
        return array
    inputs, outputs, *kernel = array.shape
    grouped = array.reshape(found.groups, inputs // found.groups, outputs, *kernel).swapaxes(1, 2)
    return grouped.reshape(outputs * found.groups, inputs // found.groups, *kernel)


def _collect(found: list[torch.Tensor]) -> Callable[[nn.Module, object, torch.Tensor], None]:
    def hook(module: nn.Module, arguments: object, output: torch.Tensor) -> None:
        found.append(output.detach().clone())  # an activation may overwrite it

    return hook


def _check(module: nn.Module) -> None:
    """Refuses a module that has no weights to convert."""
    title = type(module).__name__
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ConversionError(
                f"'{name}' of {title} is TorchScript inside a module: put the module's own code there"
            )
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ConversionError(f"'{name}' of {title} has no values yet: run the model once before converting it")
        if parameter.is_meta:
            raise ConversionError(f"'{name}' of {title} is on the meta device, without values: load its weights first")


def _preprocessing(module: nn.Module) -> tuple[Preprocessing | None, list[str]]:
    """How images are prepared for models of torchvision and timm, and what to tell about it."""
    origin = type(module).__module__
    if origin.startswith("torchvision.models.") and not any(
        part in origin for part in (".detection", ".optical_flow", ".video")
    ):
        return NAMED["torch"], [
            f"the preprocessing of torchvision's models was assumed: torch ({option('preprocess')})"
        ]
    stated = getattr(module, "pretrained_cfg", None)
    if origin.startswith("timm.") and isinstance(stated, Mapping) and {"mean", "std"} <= stated.keys():
        mean, std = (tuple(float(v) for v in stated[key]) for key in ("mean", "std"))
        if np.allclose(mean, NAMED["torch"].mean) and np.allclose(std, NAMED["torch"].std):
            return NAMED["torch"], ["timm states the model's preprocessing: torch"]
        return Preprocessing("custom", 1 / 255, mean, std), ["timm states the model's preprocessing: mean and std"]
    return None, []


def _place(stored: Mapping[str, Any]) -> torch.device:
    for tensor in stored.values():
        if isinstance(tensor, torch.Tensor):
            return tensor.device
    return torch.device("cpu")


def _as_tensor(array: NDArray[Any]) -> torch.Tensor:
    array = np.ascontiguousarray(array)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
