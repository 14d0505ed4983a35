"""The registry of checks: each a decorated generator whose docstring is its manual."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points

from onnxviz.auditing.check import OPTIONS, Check, Need, Run, Use
from onnxviz.auditing.finding import Severity
from onnxviz.errors import OnnxvizError, SelectionError
from onnxviz.messages import printable, refuse_unheeded

GROUP = "onnxviz.checks"
"""Entry points of third parties: modules that register checks when they are imported."""
FAMILIES = (
    "opening", "graph", "targets", "trials", "costs", "weights", "ranges", "layer_activations", "calibration", "parity",
    "performance", "images", "preprocessing_probe", "labelled", "release",
    "since_release", "golden_vectors",
)  # fmt: skip
# Values of options that say no more than leaving them out.
_USUAL = {"preprocess": "auto", "provider": "cpu", "threads": 0}
# Checks that a refusal names.
_NAMED = 3
_CODE = re.compile(r"[A-Z]\d\d")

CHECKS: dict[str, Check] = {}
"""All that are registered, by code."""


def check(
    code: str, severity: Severity, *, needs: tuple[Need, ...] = (), takes: tuple[Use, ...] = (), asked: bool = False,
    budgets: tuple[str, ...] = (), **thresholds: float,
) -> Callable[[Run], Run]:  # fmt: skip
    """Registers a generator of findings as a check; its docstring is the manual.

    Args:
        code: a letter and two digits.
        severity: as in `Check`.
        needs: as in `Check`.
        takes: as in `Check`.
        asked: as in `Check`.
        budgets: as in `Check`.
        thresholds: as in `Check`.

    Raises:
        ValueError: the code is taken or none, or there is no docstring.
    """

    def register(run: Run) -> Run:
        manual = inspect.getdoc(run) or ""
        if not _CODE.fullmatch(code) or code in CHECKS or not manual:
            raise ValueError(f"'{code}' is no free code of a check with a manual")
        CHECKS[code] = Check(
            code, manual.splitlines()[0], manual, severity, needs, takes, asked, budgets, dict(thresholds), run
        )
        return run

    return register


def load_checks() -> tuple[Check, ...]:
    """All checks by code, those of third parties among them.

    Raises:
        OnnxvizError: a third party's cannot be loaded.
    """
    for family in FAMILIES:
        import_module(f"onnxviz.auditing.checks.{family}")
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:
            raise OnnxvizError(
                f"the checks '{entry.name}' cannot be loaded: {printable(str(error), 200)}; uninstall what brings them"
            ) from None
    return tuple(CHECKS[code] for code in sorted(CHECKS))


def chosen(
    checks: Iterable[Check], select: Iterable[str], ignore: Iterable[str], budgets: Iterable[str] = ()
) -> tuple[Check, ...]:
    """The checks whose codes begin with any of `select` (all where it is empty) and with none of `ignore`.

    They are in the order in which they run: the cheapest first, by code, so that where time ends most have run. One
    that only runs when asked for is asked for by its whole code, or by a budget.

    Raises:
        SelectionError: a prefix means no check; the message names the nearest.
    """
    there, given = tuple(checks), set(budgets)
    select, ignore = tuple(select), tuple(ignore)
    for prefix in (*select, *ignore):
        known_code(prefix, there)
    found = (
        one
        for one in there
        if (not select or any(one.code.startswith(prefix) for prefix in select))
        and (not one.asked or one.code in select or given.intersection(one.budgets))
        and not any(one.code.startswith(prefix) for prefix in ignore)
    )
    return tuple(sorted(found, key=lambda one: (one.expense, one.code)))


def refuse_untaken(wanted: Iterable[Check], checks: Iterable[Check], options: Mapping[str, object]) -> None:
    """Refuses options that some check heeds, and none of those that were chosen.

    Args:
        wanted: the checks that were chosen.
        checks: all there are.
        options: of `audit`, by name.

    Raises:
        UnheededOptionError: one is given; the message names checks that heed it.
    """
    kept = (*OPTIONS["data"], *OPTIONS["noise"]) if options.get("keep") else ()  # what is kept is of the data
    heeded = {option for one in wanted for option in one.options}.union(kept)
    for name, value in options.items():
        if value is None or name in heeded or (name in _USUAL and value == _USUAL[name]):
            continue
        if takers := [one.code for one in checks if name in one.options]:
            more = f" and {len(takers) - _NAMED} more" if len(takers) > _NAMED else ""
            named = ", ".join(takers[:_NAMED])
            do = "do" if len(takers) > 1 else "does"
            refuse_unheeded({name: True}, f"no check that was chosen looks at {{{name}}}; {named}{more} {do}")


def known_code(prefix: str, checks: Iterable[Check]) -> None:
    """Refuses what no check's code begins with.

    Raises:
        SelectionError: none does; the message names the nearest.
    """
    codes = [one.code for one in checks]
    if prefix and any(code.startswith(prefix) for code in codes):
        return
    near = difflib.get_close_matches(prefix, codes, n=1, cutoff=0.0)
    groups = ", ".join(sorted({code[0] for code in codes}))
    raise SelectionError(f"no check is called '{printable(prefix)}'; the nearest is {near[0]}; groups are {groups}")
