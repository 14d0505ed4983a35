"""The reader of imports."""

import ast

from house_source import imports_of


def test_the_reader_of_imports_sees_them_all():
    source = """
import a.b, c
from d import e
from onnxviz import files, load
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import hidden
else:
    import shown
try:
    import tried
except ImportError:
    import fallback
class Inside:
    import body
def late():
    import lazy
    def later():
        from lazier import x
importlib.import_module("dynamic")
"""
    found = {one.module: one.top for one in imports_of(ast.parse(source))}
    late = {"lazy", "lazier", "hidden"}
    early = {"a.b", "c", "d", "typing", "onnxviz", "onnxviz.files", "shown", "tried", "fallback", "body", "dynamic"}
    assert {module for module, top in found.items() if top} == early
    assert {module for module, top in found.items() if not top} == late
