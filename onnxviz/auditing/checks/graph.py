"""Checks of the graph: the specification, domains, what is unused, and what training left behind."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from onnx import TensorProto

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.cost import stored_bytes
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.messages import printable
from onnxviz.model.graph.conformance import violation
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope, all_graphs, plain_domain, tensors, walk
from onnxviz.model.graph.tensors import external_entry
from onnxviz.runtime.session import DOMAINS

_SHOWN = 3
# Gaps between tensors of a file up to this size are alignment (ONNX asks for 4 KiB, on Windows 64 KiB).
_ALIGNMENT = 2**16
# First IR version in which an initializer need not be an input (ONNX IR specification, "Initializers").
_IR_WITHOUT = 4


@check("G03", Severity.ERROR)
def violates_the_specification(subject: Subject) -> Iterator[Finding]:
    """What violates the ONNX specification: onnx's checker and its strict shape inference.

    Why it matters: a runtime may refuse such a model, or each may read it in its own way. Shapes that contradict each
    other mislead whoever allocates memory by what the model declares.

    How it is measured: `onnx.checker.check_model` and `onnx.shape_inference.infer_shapes(check_type=True,
    strict_mode=True, data_prop=True)` on the stored model, in a process of their own; the first thing they say.

    What to do: export again with a current exporter; where the model was edited, correct the node that is named.
    """
    who, what = violation(subject.model.stored, subject.model.folder)
    if not who:
        if what:
            raise UnmeasuredError(printable(what, 300))
        return
    yield subject.finding(
        f"onnx's {who} refuses the model: {printable(what, 300)}",
        "export it again with a current exporter; where it was edited, correct what is named",
    )


@check("G04", Severity.WARNING)
def custom_domains(subject: Subject) -> Iterator[Finding]:
    """Operators of domains that are not ONNX's own, and that nodes use.

    Why it matters: such an operator runs only where its library is there and registered; on every other runtime the
    model does not load. Domains that are imported and not used matter to nobody.

    How it is measured: the domains of all nodes, those in subgraphs and functions included, but for the functions that
    the model brings. Domains that onnxruntime has itself (com.microsoft) are a note: other runtimes lack them.

    What to do: export with standard operators, or ship the library with the model.
    """
    stored = subject.model.stored
    local = {(plain_domain(function.domain), function.name) for function in stored.functions}
    used: dict[str, Counter[str]] = {}
    for nodes in (*(graph.node for graph in all_graphs(stored.graph)), *(one.node for one in stored.functions)):
        for node in nodes:
            domain = plain_domain(node.domain)
            if domain and domain != "ai.onnx.ml" and (domain, node.op_type) not in local:
                used.setdefault(domain, Counter())[node.op_type] += 1
    for domain, counts in used.items():
        listed = ", ".join(f"{printable(name)} ({count})" for name, count in counts.most_common(_SHOWN))
        more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
        is_known = domain in DOMAINS
        yield subject.finding(
            f"{counts.total():,} nodes are of domain '{printable(domain)}', "
            f"{'which onnxruntime has and others lack' if is_known else 'which no runtime has of itself'}: "
            f"{listed}{more}",
            "nothing, if it runs in onnxruntime only" if is_known else "ship the library that registers them",
            severity=Severity.NOTE if is_known else None,
            where=printable(domain), value=float(counts.total()), threshold=0.0,
        )  # fmt: skip


@check("G06", Severity.NOTE)
def unused(subject: Subject) -> Iterator[Finding]:
    """Nodes, initializers and inputs that nothing depends on.

    Why it matters: they are left from training or editing; unused weights make the file larger, an unused input has to
    be fed all the same, and what was meant to be connected may not be.

    How it is measured: what no output of its graph depends on, subgraphs included; initializers that no node that is
    needed reads; inputs likewise.

    What to do: remove them, such as with onnxruntime's or onnxslim's optimiser; check that nothing was disconnected.
    """
    nodes: list[str] = []
    weights: list[TensorProto] = []
    inputs: list[str] = []
    for graph in all_graphs(subject.model.stored.graph):
        scope = Scope(graph)
        outputs = [value.name for value in graph.output]
        needed = scope.ancestors(outputs)
        read = needed.tensors | set(outputs)
        kept = {id(node) for node in needed.nodes}
        nodes += [node.name or (node.output[0] if node.output else node.op_type) for node in graph.node
                  if id(node) not in kept]  # fmt: skip
        weights += [tensor for tensor in graph.initializer if tensor.name not in read]
        if graph is subject.model.stored.graph:
            inputs += [port.name for port in subject.model.inputs if port.name not in read]
    size = sum(stored_bytes(tensor) for tensor in weights)
    for what, names, extra, do in (
        ("nodes", nodes, "", "remove them"),
        ("initializers", [tensor.name for tensor in weights], f", {size:,} bytes", "remove them"),
        ("inputs", inputs, ", and have to be fed all the same", "remove them, or connect them"),
    ):
        if names:
            shown = ", ".join(f"'{printable(name)}'" for name in names[:_SHOWN])
            yield subject.finding(
                f"{len(names):,} {what} are not used{extra}: {shown}{', …' if len(names) > _SHOWN else ''}",
                do, where=printable(names[0]), value=float(len(names)), threshold=0.0,
            )  # fmt: skip


@check("G05", Severity.ERROR, waste=0.1)
def external_data(subject: Subject) -> Iterator[Finding]:
    """Files of external data that are not what the model says, or hold what it does not use.

    Why it matters: a model whose weights lie in another file is right only beside that very file. A file that is
    missing, too short, a link, or outside the folder is refused when the model is opened; a file of the right size with
    other weights is not. Exporters that append to a file that is there leave the old weights in front.

    How it is measured: where the model states a SHA-1 of a file (ONNX external data, key `checksum`), the file's own;
    byte ranges of two tensors that overlap without being the same; the share of a file that no tensor uses, gaps of up
    to 64 KiB for alignment apart, as a note above `waste`.

    What to do: copy model and data together; save the model again to a new file.
    """
    folder, limit = subject.model.folder, subject.threshold("waste")
    ranges: dict[str, set[tuple[int, int]]] = {}
    sums: dict[str, str] = {}
    for tensor in tensors(subject.model.stored):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = external_entry(tensor, "location")
        if location == subject.model.file.name:
            continue  # a weight that lies in the model's own file
        start = int(external_entry(tensor, "offset") or 0)
        ranges.setdefault(location, set()).add((start, start + stored_bytes(tensor)))
        if told := external_entry(tensor, "checksum"):
            sums[location] = told.lower()
    for location, told in sums.items():
        with (folder / location).open("rb") as file:
            own = hashlib.file_digest(file, "sha1").hexdigest()
        if own != told:
            yield subject.finding(
                f"'{printable(location)}' has the SHA-1 {own}, not {printable(told)} as the model says: it holds other "
                "weights", "copy the file that belongs to the model", where=printable(location),
            )  # fmt: skip
    for location, found in ranges.items():
        size = (folder / location).stat().st_size
        used = end = overlaps = 0
        for start, stop in sorted(found):
            overlaps += start < end
            gap = max(0, start - end)
            used += max(0, stop - max(start, end)) + (gap if gap <= _ALIGNMENT else 0)
            end = max(end, stop)
        used += size - end if size - end <= _ALIGNMENT else 0
        if overlaps:
            yield subject.finding(
                f"{overlaps:,} tensors lie over others in '{printable(location)}' without being the same",
                "save the model again to a new file", where=printable(location), value=float(overlaps), threshold=0.0,
            )  # fmt: skip
        waste = 1 - used / size if size else 0.0
        if waste > limit:
            yield subject.finding(
                f"{waste:.1%} of '{printable(location)}' ({size:,} bytes) belong to no tensor, more than {limit:.1%}",
                "save the model again to a new file, not over an old one",
                severity=Severity.NOTE, where=printable(location), value=waste, threshold=limit,
            )  # fmt: skip


@check("G11", Severity.WARNING)
def initializers_as_inputs(subject: Subject) -> Iterator[Finding]:
    """Weights that are listed as inputs too, so that runtimes may not take them as constant.

    Why it matters: an initializer that is also an input is only its default: whoever runs the model may feed another
    (ONNX IR specification, "Initializers"). So onnxruntime does not fold or fuse it, batch normalisations stay, and it
    warns of each ("Initializer … appears in graph inputs and will not be treated as constant value").

    How it is measured: names in both lists, where the IR version is 4 or later; before, all had to be. Weights of
    convolutions, dense layers and normalisations are a warning, others a note.

    What to do: export with `keep_initializers_as_inputs=False`, or remove those inputs.
    """
    model = subject.model.stored
    if model.ir_version < _IR_WITHOUT:
        return
    stored = {tensor.name for tensor in model.graph.initializer}
    both = [value.name for value in model.graph.input if value.name in stored]
    if not both:
        return
    families = Family.CONVOLUTION | Family.MATRIX | Family.NORMALISATION
    weights = {name for _, node in walk(subject.model.scope) if belongs(node, families) for name in node.input[1:]}
    trained = [name for name in both if name in weights]
    first = (trained or both)[0]
    yield subject.finding(
        f"{len(both):,} initializers are inputs too, {len(trained):,} of them weights of convolutions, dense layers or "
        f"normalisations ('{printable(first)}'): runtimes do not take them as constant",
        "export with keep_initializers_as_inputs=False, or remove those inputs",
        severity=None if trained else Severity.NOTE,
        where=printable(first), value=float(len(both)), threshold=0.0,
    )  # fmt: skip
