"""Checks of the target: whether a runtime knows the model's versions, operators and types."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.leftovers import leftovers
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.errors import ModelError, ProviderError
from onnxviz.messages import printable
from onnxviz.model.graph.conformance import violation
from onnxviz.model.graph.scopes import plain_domain
from onnxviz.runtime.session import DOMAINS, Session, custom_operators

# Of each release of onnxruntime the newest operator set of ai.onnx and of ai.onnx.ml, and the newest IR version.
# 1.15 to 1.32 as those releases say it when they refuse a model; older ones as their compatibility page has it:
# https://onnxruntime.ai/docs/reference/compatibility.html
RELEASES: dict[tuple[int, int], tuple[int, int, int]] = {
    (1, 0): (11, 2, 6), (1, 1): (11, 2, 6), (1, 2): (11, 2, 6), (1, 3): (12, 2, 7), (1, 4): (12, 2, 7),
    (1, 5): (12, 2, 7), (1, 6): (13, 2, 7), (1, 7): (13, 2, 7), (1, 8): (14, 2, 7), (1, 9): (15, 2, 8),
    (1, 10): (15, 2, 8), (1, 11): (16, 2, 8), (1, 12): (17, 2, 8), (1, 13): (17, 3, 8), (1, 14): (18, 3, 8),
    (1, 15): (19, 3, 9), (1, 16): (19, 3, 9), (1, 17): (20, 4, 9), (1, 18): (21, 5, 10), (1, 19): (21, 5, 10),
    (1, 20): (21, 5, 10), (1, 21): (22, 5, 10), (1, 22): (22, 5, 10), (1, 23): (23, 5, 11), (1, 24): (25, 5, 13),
    (1, 25): (26, 5, 13), (1, 26): (26, 5, 13), (1, 27): (26, 5, 13), (1, 28): (26, 5, 13), (1, 29): (26, 5, 13),
    (1, 30): (26, 5, 13), (1, 31): (26, 5, 13), (1, 32): (28, 5, 14),
}  # fmt: skip
_TARGET = re.compile(r"(?:onnxruntime(?:-gpu|-openvino|-directml|-qnn)?)\s*==\s*(\d+)\.(\d+)(?:\.[\w.]+)?")
# What `Session` says of a model that is too new.
_TOO_NEW = re.compile(r"; onnxruntime \S+ knows (?:opsets|versions) up to (\d+)")


@check("G01", Severity.ERROR, takes=("target",))
def newer_than_the_target(subject: Subject) -> Iterator[Finding]:
    """An operator set or IR version that the target runtime does not know.

    Why it matters: a runtime refuses a model that is newer than itself, whatever operators are in it ("Opset 21 is
    under development", "Unsupported model IR version"). It shows when the model is deployed, since who exports has the
    newest of everything (onnxruntime issues 14932, 15874, 20559 and 23602).

    How it is measured: the versions that the model states beside the newest that the target knows (`--target
    onnxruntime==1.17`), from a table of onnxruntime's releases; without a target, an empty model of these versions is
    opened in the onnxruntime that is installed.

    What to do: install a newer runtime; export with an older `opset_version`, or convert with onnx.version_converter;
    an IR version alone can be lowered with `model.ir_version = N`.
    """
    model = subject.model.stored
    opsets = {plain_domain(entry.domain): entry.version for entry in model.opset_import}
    target = subject.extras.target
    if target is None:
        yield from _installed(subject, opsets)
        return
    asked = _TARGET.fullmatch(target.strip())
    if asked is None:
        raise UnmeasuredError(f"'{printable(target)}' is no target that is known: write onnxruntime==1.17")
    release = (int(asked[1]), int(asked[2]))
    if release not in RELEASES:
        first, last = (".".join(map(str, end(RELEASES))) for end in (min, max))
        raise UnmeasuredError(f"onnxruntime {'.'.join(map(str, release))} is not known, {first} to {last} are")
    name = f"onnxruntime {'.'.join(map(str, release))}"
    limits = dict(zip(("", "ai.onnx.ml"), RELEASES[release], strict=False))
    for domain, limit in limits.items():
        found = opsets.get(domain, 0)
        if found > limit:
            label = f"opset {found} of {domain}" if domain else f"opset {found}"
            yield subject.finding(
                f"the model is written for {label}; {name} knows opsets up to {limit}",
                f"install a newer onnxruntime, or export with opset_version={limit}",
                where=domain or "ai.onnx", value=float(found), threshold=float(limit),
            )  # fmt: skip
    newest = RELEASES[release][2]
    if model.ir_version > newest:
        yield subject.finding(
            f"the model has IR version {model.ir_version}; {name} knows versions up to {newest}",
            f"install a newer onnxruntime, or set model.ir_version = {newest} with onnx",
            where="ir_version", value=float(model.ir_version), threshold=float(newest),
        )  # fmt: skip


def _installed(subject: Subject, opsets: dict[str, int]) -> Iterator[Finding]:
    """What the installed onnxruntime says to an empty model of these versions: each by itself."""
    ir = subject.model.stored.ir_version
    ends = [(domain or "ai.onnx", _empty(7, {domain: version}), version)
            for domain, version in opsets.items() if domain in ("", "ai.onnx.ml")]  # fmt: skip
    ends.append(("ir_version", _empty(ir, {}), ir))
    for where, proto, version in ends:
        try:
            Session(proto, subject.model.folder, subject.model.label)
        except ModelError as error:
            known = _TOO_NEW.search(str(error))
            yield subject.finding(
                str(error), "install a newer onnxruntime, or export for an older version",
                where=where, value=float(version), threshold=float(known[1]) if known else None,
            )  # fmt: skip


def _empty(ir: int, opsets: dict[str, int]) -> onnx.ModelProto:
    """A model of one Identity with these versions, others as any runtime knows them."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", values[:1], values[1:])
    imports = [helper.make_opsetid(domain, version) for domain, version in {"": 7, **opsets}.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir)


@check("G02", Severity.ERROR, takes=("session",))
def does_not_open(subject: Subject) -> Iterator[Finding]:
    """An operator or type that the provider does not run.

    Why it matters: the model does not open where it is to be deployed. An exporter may write what the specification
    allows and no kernel computes, such as a convolution of float64 or an operator of a set that is too old.

    How it is measured: the model is opened in the onnxruntime that is installed, on the provider that was asked for.
    Where a version is too new, an operator is of a domain whose library is not here, or the specification is violated,
    G01, G03 and G04 say it.

    What to do: what the message says; convert to another opset or type, or choose another provider.
    """
    try:
        _ = subject.session
        return
    except ProviderError as error:
        raise UnmeasuredError(str(error)) from None
    except ModelError as error:
        text = str(error)
    custom = [name for name in custom_operators(subject.model.stored, DOMAINS) if "::" in name]
    if custom:
        raise UnmeasuredError(f"the libraries of {', '.join(custom[:3])} are not here: see G04")
    if _TOO_NEW.search(text):
        raise UnmeasuredError(f"the model is too new for this onnxruntime: see G01; {text}")
    if violation(subject.model.stored, subject.model.folder)[0]:
        raise UnmeasuredError(f"the model violates the specification: see G03; {text}")
    if leftovers(subject.model):
        raise UnmeasuredError(f"what training left does not run: see G10; {text}")
    yield subject.finding(
        text, "convert the model to another opset or type, or choose another provider", where=subject.options.provider
    )
