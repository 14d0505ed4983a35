"""Sessions of onnxruntime, and the options they run with."""

from __future__ import annotations

import _thread
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxviz.errors import InputError, ModelError, ProviderError
from onnxviz.messages import printable
from onnxviz.model.graph.constants import MAX_COMPUTED_ELEMENTS, Constants
from onnxviz.model.graph.scopes import Scope, walk
from onnxviz.model.graph.tensors import TensorFile
from onnxviz.model.model import Model
from onnxviz.passes.expose import Tap, expose
from onnxviz.runtime.batching import DEFAULT_MEMORY
from onnxviz.runtime.providers import CPU, DOCUMENTATION, NodeAssignment, Provider, listed, short_name

# The wheel writes a device id and sends events unless this is set before the first import; models are confidential.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from collections.abc import Iterable

import onnxruntime as ort

from onnxviz.model.graph.scopes import all_graphs

ort.disable_telemetry_events()

# Of the package that runs, whichever distribution brought it (onnxruntime, onnxruntime-gpu, …).
VERSION: str = ort.__version__
# Constants folded when a session opens may not be larger: 199 bytes can ask for gigabytes.
_FOLDING_LIMIT = 16 * 2**20
# How often a run that goes on is looked at for an interrupt.
_LOOK_SECONDS = 0.1
# The severity from which onnxruntime logs by itself: warnings.
_LOGGED = 2
DOMAINS = ("ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc", "ai.onnx.training")


def available_providers() -> list[str]:
    """The execution providers that this machine's onnxruntime offers, by their short names, `cpu` first."""
    return listed(ort.get_available_providers())


def provider_name(provider: Provider) -> str:
    """onnxruntime's name of a provider.

    Raises:
        ProviderError: this onnxruntime does not offer it; the message says what there is, and what to install.
    """
    return provider.among(ort.get_available_providers(), ort.get_all_providers(), VERSION)


@dataclass(frozen=True)
class RunOptions:
    """How a model is run.

    Attributes:
        provider: an execution provider of onnxruntime by its short name, with options where it takes some: "cpu",
            "cuda", "openvino:device_type=CPU"; there is no fallback from one that cannot start to another.
        memory: bytes that a batch, and what is kept of it, may take, about.
        threads: of one operator; 0 for onnxruntime's choice.
        optimize: whether onnxruntime may rewrite the graph.
        profile: how the path of the file begins that onnxruntime writes its profile to (`onnxviz.runtime.profile`); ""
            for none.
        prepack: whether onnxruntime may keep weights in its kernels' order alone; a profile then lacks their shapes.
        assigned: of the largest graph that was opened with these options, which nodes run on which provider; none
            where the CPU was asked for.
    """

    provider: str = CPU
    memory: int = DEFAULT_MEMORY
    threads: int = 0
    optimize: bool = True
    profile: str = ""
    prepack: bool = True
    assigned: list[NodeAssignment] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def assignment(self) -> NodeAssignment | None:
        """What `assigned` holds; None where it holds nothing."""
        return self.assigned[0] if self.assigned else None

    def keep(self, assignment: NodeAssignment) -> None:
        """Takes what a session told for `assigned`, unless that of a graph with as many nodes is there."""
        if self.assignment is None or self.assignment.total < assignment.total:
            self.assigned[:] = [assignment]


_DEFAULT_OPTIONS = RunOptions()


class Session:
    """A model ready to run.

    Args:
        proto: the model; its external data lie in `folder`.
        folder: the source model's folder.
        label: how messages call the model.
        options: where, and with how many threads.

    Attributes:
        inputs: the names of the graph's inputs.
        assignment: which nodes run on which provider; None where the CPU was asked for.

    Raises:
        ProviderError: the provider is unknown or not on this machine, cannot start, or takes none of the nodes.
        ModelError: onnxruntime cannot run the model: custom operators, an opset without kernels, or a graph that
            contradicts itself; the message says which.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        folder: Path,
        label: str,
        options: RunOptions = _DEFAULT_OPTIONS,
    ) -> None:
        asked = Provider.parse(options.provider)
        name = provider_name(asked)
        self.proto = proto
        self.label = label
        self.provider = str(asked)
        _refuse_floods(proto, folder, label)
        settings = ort.SessionOptions()
        settings.log_severity_level = 4  # it would print the model's own text raw to stderr; errors are raised anyway
        settings.intra_op_num_threads = options.threads
        if not options.optimize:
            settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if options.profile:
            settings.enable_profiling = True
            settings.profile_file_prefix = options.profile
        settings.add_session_config_entry("session.disable_prepacking", "0" if options.prepack else "1")
        settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        settings.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(_FOLDING_LIMIT))
        if asked.name != CPU:
            settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        try:
            self._session = _started(proto, settings, name, asked)
        except (RuntimeError, ValueError) as error:  # onnxruntime's own are neither
            raise ProviderError(
                f"provider '{asked}' was asked for, but onnxruntime cannot start it: {_one_line(str(error))}"
            ) from None
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            where = "" if asked.name == CPU else f" on '{asked}'"
            raise ModelError(_session_problem(str(error), proto, label, where)) from None
        if (first := self._session.get_providers()[0]) != name:
            raise ProviderError(
                f"provider '{asked}' was asked for, but onnxruntime could not start it and chose "
                f"{short_name(first)}: check its options and the libraries that it needs ({DOCUMENTATION})"
            )
        self.assignment = None if asked.name == CPU else NodeAssignment(str(asked), _assigned_nodes(self._session))
        if self.assignment is not None:
            if self.assignment.total and not self.assignment.own:
                raise ProviderError(
                    f"provider '{asked}' was asked for, but it takes none of the {self.assignment.total} nodes of "
                    f"{label}: check its options, and which operators and types it has ({DOCUMENTATION})"
                )
            options.keep(self.assignment)
        self.inputs = tuple(value.name for value in self._session.get_inputs())

    @classmethod
    def of(
        cls,
        model: Model,
        graph: Sequence[str] | onnx.ModelProto | None = None,
        options: RunOptions = _DEFAULT_OPTIONS,
    ) -> Session:
        """A session for a model or a part of it.

        Args:
            model: the model.
            graph: tensors of its main graph, for what they need to be computed; a graph made of the model's, whose
                weights are references into its folder; or None for the model as it is.
            options: where, and with how many threads.

        Raises:
            SelectionError: the model has no such tensor.
            ProviderError, ModelError: as for `Session`; also where the files changed since the model was opened.
        """
        if graph is None:
            graph = model.proto
        elif not isinstance(graph, onnx.ModelProto):
            graph = expose(model, [Tap(name) for name in graph]).proto
        session = cls(graph, model.folder, model.label, options)
        model.check_unchanged()  # the session reads the weights from the file
        return session

    def own(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """What this graph takes of a sample's feeds.

        Raises:
            InputError: an input is missing.
        """
        missing = [printable(name) for name in self.inputs if name not in feeds]
        if missing:
            raise InputError(f"{self.label} also needs {', '.join(missing)}: give each as NAME=PATH")
        return {name: feeds[name] for name in self.inputs}

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The values of `outputs`; an interrupt (Ctrl-C) stops the run within milliseconds.

        Raises:
            InputError: the model cannot run on these inputs; onnxruntime does not tell a wrong shape from a failing
                operator.
        """
        names = list(outputs)
        run_options = ort.RunOptions()
        run_options.log_severity_level = 4
        result: list[Any] = []
        failure: list[BaseException] = []
        begun: list[bool] = []
        ended: list[bool] = []
        bell = _thread.allocate_lock()
        bell.acquire()

        def work() -> None:
            begun.append(True)
            try:
                if not run_options.terminate:
                    result.extend(self._session.run(names, dict(feeds), run_options))
            except BaseException as error:
                failure.append(error)
            finally:
                ended.append(True)
                bell.release()

        # Python delivers an interrupt only outside native code, so the run has a thread of its own. What both threads
        # share are lists and one lock that nobody needs to get: an interrupt may come between any two instructions, and
        # in the middle of threading.Event or Thread.start it leaves a lock taken that the other thread then waits for.
        try:
            _thread.start_new_thread(work, ())
            while not ended:
                bell.acquire(timeout=_LOOK_SECONDS)  # without a timeout, an interrupt could go unseen
        except BaseException:
            run_options.terminate = True
            while begun and not ended:  # a thread that has not begun sees that it need not
                bell.acquire(timeout=_LOOK_SECONDS)
            raise
        if failure:
            raise self._run_problem(str(failure[0]), feeds) from None
        return [value if isinstance(value, np.ndarray) else np.asarray(value, object) for value in result]

    def end_profiling(self) -> Path:
        """The file with the profile of all runs so far; none follows."""
        return Path(self._session.end_profiling())

    def run_here(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """As `run`, in the thread that calls it: one of many, which no interrupt reaches.

        A thread that runs one model after the other keeps the buffers that onnxruntime has for each.
        """
        run_options = ort.RunOptions()
        run_options.log_severity_level = 4
        try:
            result = self._session.run(list(outputs), dict(feeds), run_options)
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise self._run_problem(str(error), feeds) from None
        return [value if isinstance(value, np.ndarray) else np.asarray(value, object) for value in result]

    def _run_problem(self, text: str, feeds: Mapping[str, NDArray[Any]]) -> InputError:
        shapes = ", ".join(f"{printable(name)} {'x'.join(map(str, a.shape))}" for name, a in feeds.items())
        return InputError(f"{self.label} could not run on input {shapes}: {_one_line(text)}")


def _started(proto: onnx.ModelProto, settings: Any, name: str, asked: Provider) -> Any:
    """A session of onnxruntime on that provider, without onnxruntime's own fallback to the CPU, then or later."""
    chosen, others = [(name, dict(asked.options))], asked.name != CPU
    if others:  # what they say while they start goes to stderr past the session's logger
        ort.set_default_logger_severity(4)
    try:
        return ort.InferenceSession(proto.SerializeToString(), settings, providers=chosen, enable_fallback=0)
    finally:
        if others:
            ort.set_default_logger_severity(_LOGGED)


def _assigned_nodes(session: Any) -> dict[str, dict[str, int]] | None:
    """By provider's short name, how many nodes of each operator it was assigned; None where that is not told."""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # onnxruntime before 1.24.1, under another name
        return None
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for part in session.get_provider_graph_assignment_info():
        for node in part.get_nodes():
            domain = node.domain if node.domain not in ("", "ai.onnx") else ""
            found[short_name(part.ep_name)][f"{domain}::{node.op_type}" if domain else node.op_type] += 1
    return {name: dict(counts.most_common()) for name, counts in found.items()}


def _refuse_floods(proto: onnx.ModelProto, folder: Path, label: str) -> None:
    """Refuses nodes that fill gigabytes from a few constant bytes, when the session opens or at every run."""
    constants = Constants(TensorFile(folder))
    for scope, node in walk(Scope(proto.graph)):
        elements = _grown(node, partial(constants.value, scope))
        if elements > MAX_COMPUTED_ELEMENTS:
            name = printable(node.name or node.output[0])
            raise ModelError(
                f"{label}: {node.op_type} '{name}' makes {elements:,.0f} elements; "
                f"the limit is {MAX_COMPUTED_ELEMENTS:,}"
            )


def _grown(node: onnx.NodeProto, value_of: Callable[[str], NDArray[Any] | None]) -> float:
    """How many elements a node makes of constants; 0 where that does not show."""
    given = [name for name in node.input if name]
    match node.op_type:
        case "Range" if len(given) == 3:
            values = [value_of(name) for name in given]
            numbers = [float(value.reshape(())) for value in values if value is not None and value.size == 1]
            return (numbers[1] - numbers[0]) / numbers[2] if len(numbers) == 3 and numbers[2] else 0
        case "ConstantOfShape" | "Expand" if given and (shape := value_of(given[-1])) is not None:
            return math.prod(int(size) for size in shape.reshape(-1))
    return 0


def _session_problem(text: str, proto: onnx.ModelProto, label: str, where: str = "") -> str:
    """What onnxruntime's message means; its own words where it is not one of the usual ones."""
    unknown = custom_operators(proto, DOMAINS)
    if unknown:
        listed = ", ".join(f"{name} ({count})" for name, count in unknown.items())
        return f"{label} uses operators that onnxruntime does not have: {listed}"
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    kernel = re.search(r"Could not find an implementation for ([\w.]+)\((\d+)\)", text)
    if kernel:
        return (
            f"{label} (opset {opset}) needs {kernel[1]} of opset {kernel[2]}, for which onnxruntime {ort.__version__} "
            "has no kernel for this type; convert the model to a newer opset with onnx.version_converter"
        )
    newest = re.search(r"[Oo]fficial support for domain \S+ is till opset (\d+)", text)
    if newest:
        return (
            f"{label} is written for opset {opset}; onnxruntime {ort.__version__} knows opsets up to {newest[1]}: "
            "install a newer onnxruntime or export with an older opset"
        )
    version = re.search(r"IR version: (\d+), max supported IR version: (\d+)", text)
    if version:
        return (
            f"{label} has IR version {version[1]}; onnxruntime {ort.__version__} knows versions up to {version[2]}: "
            "install a newer onnxruntime"
        )
    operator = re.search(r"([\w.]+:\w+)\(-?\d+\) is not a registered function/op", text)
    if operator:
        return f"{label} uses an operator that onnxruntime does not have: {operator[1].replace(':', '::')}"
    return f"onnxruntime cannot run {label}{where}: {_one_line(text)}"


def _one_line(text: str) -> str:
    """onnxruntime's message without its source locations and functions, as one printable line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text.strip())
    text = re.sub(r"\S*/onnxruntime/\S+?:\d+ ?", "", text)
    text = re.sub(r"(?:[\w:]+(?:<[^>]*>)?[ &*]+)?onnxruntime::[\w:~]+\([^)]*\)(?: const)? ", "", text)
    text = re.sub(r"\s+", " ", text).strip()
    return printable(text, 400)


def custom_operators(proto: onnx.ModelProto, known_domains: Iterable[str]) -> dict[str, int]:
    """Operators that neither ONNX nor one of `known_domains` defines, with how often each occurs.

    Functions of the model itself are not among them.
    """
    known = {"", "ai.onnx", *known_domains}
    local = {(function.domain, function.name) for function in proto.functions}
    found: dict[str, int] = {}
    graphs = list(all_graphs(proto.graph))
    for nodes in (*(graph.node for graph in graphs), *(function.node for function in proto.functions)):
        for node in nodes:
            if (node.domain, node.op_type) in local:
                continue
            if node.domain not in known or (node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type)):
                label = printable(f"{node.domain}::{node.op_type}" if node.domain else node.op_type)
                found[label] = found.get(label, 0) + 1
    return found
