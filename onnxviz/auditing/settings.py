"""Settings of an audit: thresholds, severities and accepted findings, from `onnxviz.toml` or `pyproject.toml`."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from onnxviz.auditing.check import Check
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.errors import InputError
from onnxviz.messages import one_of, printable

FORMAT_VERSION = 1
_KEYS: dict[str, type] = {
    "version": int, "select": list, "ignore": list, "fail-on": str, "thresholds": dict, "severities": dict,
    "accept": list, "budgets": dict,
}  # fmt: skip
_ACCEPTED = ("code", "layers", "reason")
_KINDS = {int: "a whole number", list: "a list", str: "text", dict: "a table"}


@dataclass(frozen=True)
class Acceptance:
    """A finding that is let pass: of a check, at the layers that a glob means, for a reason."""

    code: str
    layers: str
    reason: str


@dataclass(frozen=True)
class Settings:
    """How an audit judges.

    Attributes:
        thresholds: by code and name, what is not as usual.
        severities: by code, likewise.
        accepted: findings that are let pass, each with its reason.
        budgets: by name, such as `parameters` or `latency-ms`; what has no budget is not judged by one.
        select, ignore: prefixes of codes.
        fail_on: from which severity on an audit fails; "" where nothing says it.
        path: the file they come from; "" where there is none.
    """

    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    severities: Mapping[str, Severity] = field(default_factory=dict)
    accepted: tuple[Acceptance, ...] = ()
    budgets: Mapping[str, float] = field(default_factory=dict)
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str = ""
    path: str = ""

    def threshold(self, check: Check, name: str) -> float:
        """A number of a check."""
        return self.thresholds.get(check.code, {}).get(name, check.thresholds[name])

    def severity(self, check: Check) -> Severity | None:
        """What all findings of a check are to count as; None where it is left to the check."""
        return self.severities.get(check.code)

    def judged(self, finding: Finding) -> Finding:
        """The finding, with the reason for which it is let pass, if it is."""
        for one in self.accepted:
            if finding.code.startswith(one.code) and fnmatchcase(finding.layer, one.layers):
                return replace(finding, reason=one.reason)
        return finding

    @classmethod
    def read(cls, path: Path | None, checks: Iterable[Check]) -> Settings:
        """The settings in a file; None for `onnxviz.toml`, else `[tool.onnxviz.audit]` of `pyproject.toml`, if any.

        Raises:
            InputError: the file cannot be read, is of a later version, or says what there is not.
        """
        table, where = _table(path)
        if table is None:
            return cls()
        return _settings(table, where, {one.code: one for one in checks})


def _table(path: Path | None) -> tuple[dict[str, Any] | None, str]:
    places = [path] if path is not None else [Path("onnxviz.toml"), Path("pyproject.toml")]
    for place in places:
        if path is None and not place.is_file():
            continue
        try:
            document = tomllib.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{place} cannot be read as settings: {printable(str(error), 200)}") from None
        found = document
        for key in ("tool", "onnxviz", "audit") if place.name == "pyproject.toml" else ("audit",):
            found = found.get(key, {})
            if not isinstance(found, dict):
                raise InputError(f"{place}: '{key}' is no table")
        if found or path is not None:
            return found, str(place)
    return None, ""


def _settings(table: dict[str, Any], where: str, checks: Mapping[str, Check]) -> Settings:
    if table.get("version", FORMAT_VERSION) != FORMAT_VERSION:
        version = printable(str(table["version"]))
        raise InputError(f"{where} holds settings of version {version}; this onnxviz reads {FORMAT_VERSION}")
    for key, value in table.items():
        _known(f"{where}: setting", key, _KEYS)
        kind = _KEYS[key]
        if not isinstance(value, kind):
            raise InputError(f"{where}: {key} is {_KINDS[kind]}, not {printable(repr(value))}")
    thresholds: dict[str, dict[str, float]] = {}
    for code, numbers in _tables(table, "thresholds", where):
        _known(f"{where}: check", code, checks)
        for name, value in numbers.items():
            _known(f"{where}: threshold of {code}", name, checks[code].thresholds)
            thresholds.setdefault(code, {})[name] = _number(value, f"{where}: {code}.{name}")
    severities = {}
    for code, word in table.get("severities", {}).items():
        _known(f"{where}: check", code, checks)
        one_of(f"severity (in {where})", word, [one.value for one in Severity])
        severities[code] = Severity(word)
    accepted = []
    for entry in table.get("accept", []):
        if not isinstance(entry, dict) or not {"code", "reason"} <= entry.keys() or not str(entry["reason"]).strip():
            raise InputError(f"{where}: what is accepted has a code and a reason, and may have layers: {entry}")
        for key, value in entry.items():
            _known(f"{where}: setting of what is accepted", key, _ACCEPTED)
            if not isinstance(value, str):
                raise InputError(f"{where}: {key} of what is accepted is text, not {printable(repr(value))}")
        if not entry["code"] or not any(code.startswith(entry["code"]) for code in checks):
            _known(f"{where}: check", entry["code"], checks)
        accepted.append(Acceptance(entry["code"], entry.get("layers", "*"), entry["reason"]))
    budgets: dict[str, float] = {}
    for name, value in table.get("budgets", {}).items():
        _known(f"{where}: budget", name, {name for check in checks.values() for name in check.budgets})
        budgets[name] = _number(value, f"{where}: budget {name}")
    fail_on = str(table.get("fail-on", ""))
    if fail_on:
        one_of(f"severity to fail on (in {where})", fail_on, [one.value for one in Severity])
    select, ignore = (tuple(map(str, table.get(key, ()))) for key in ("select", "ignore"))
    return Settings(thresholds, severities, tuple(accepted), budgets, select, ignore, fail_on, where)


def _tables(table: Mapping[str, Any], key: str, where: str) -> list[tuple[str, dict[str, Any]]]:
    found: dict[str, Any] = table.get(key, {})
    if not all(isinstance(value, dict) for value in found.values()):
        raise InputError(f"{where}: {key} are tables by code, such as [audit.{key}.W02]")
    return list(found.items())


def _known(what: str, name: str, there: Iterable[str]) -> None:
    names = sorted(there)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        raise InputError(
            f"{what} '{printable(name)}' does not exist" + (f"; the nearest is '{near[0]}'" if near else "")
        )


def _number(value: object, what: str) -> float:
    # Nothing is above or below NaN: a check that is held against it would pass whatever it measures.
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise InputError(f"{what} is a number, not {value!r}")
    return float(value)
