"""Names of operators are listed in onnxviz/model/graph/operators.py and nowhere else: read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import onnx
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_state

PACKAGE = Path(__file__).resolve().parents[2] / "onnxviz"


def literal_strings(node: ast.AST) -> list[str]:
    """The texts that a literal lists: a set, a tuple, a list, words that are split, keys of data."""
    if isinstance(node, ast.Set | ast.Tuple | ast.List):
        listed = node.elts
    elif isinstance(node, ast.Dict):
        # A table from operators to the functions that treat them stands where these are.
        listed = [key for key, value in zip(node.keys, node.values, strict=True) if is_data(value) and key is not None]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
        text = node.func.value
        return text.value.split() if isinstance(text, ast.Constant) and isinstance(text.value, str) else []
    else:
        return []
    return [one.value for one in listed if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def is_data(value: ast.AST) -> bool:
    """Whether it is made of numbers, texts and their tuples."""
    if isinstance(value, ast.UnaryOp):
        return is_data(value.operand)
    if isinstance(value, ast.Tuple | ast.List | ast.Set):
        return all(is_data(one) for one in value.elts)
    return isinstance(value, ast.Constant)


EVERY = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
EVERY |= {one.name for one in onnxruntime_state.get_all_operator_schema() if one.domain == "com.microsoft"}


def lists_of_operators(source: str) -> list[tuple[int, list[str]]]:
    """(line, operators) of each literal in the source that lists two operators or more."""
    found = []
    for node in ast.walk(ast.parse(source)):
        listed = [text for text in literal_strings(node) if text in EVERY]
        if len(listed) > 1:
            found.append((node.lineno, listed))
    return found


def test_the_reader_of_lists_sees_them() -> None:
    for text in (
        '{"Relu", "Clip"}', '("Relu", "Clip")', 'x in ["Relu", "Clip"]', '"Relu Clip".split()',
        'frozenset({"Relu", "x", "Clip"})', '{"Relu": 1, "Clip": (1, -2)}',
    ):  # fmt: skip
        assert lists_of_operators(text) == [(1, ["Relu", "Clip"])], text
    for text in ('{"Relu": relu, "Clip": clip}', 'rule("Relu", "Clip")', '("Relu", x)', '"Relu Clip"', '["Relu", "b"]'):
        assert lists_of_operators(text) == [], text


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "operators.py" and path.parent.name != "rules"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_operators_are_listed_in_one_place(path: Path) -> None:
    found = lists_of_operators(path.read_text(encoding="utf-8"))
    advice = "ask model.graph.operators for a family (belongs, names), and give it a new one if there is none"
    assert not found, "\n".join(f"{path.name}:{line} lists {', '.join(ops)}: {advice}" for line, ops in found)
