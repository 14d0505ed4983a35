"""The command line: each command parses, calls the verb of the same name, and prints.

A file a command, which puts itself into `program.app`; `options` are what commands share, `terminal` and `progress`
what they say. Another command is another file, and its name below.
"""

# In the order of the help.
# isort: off
from onnxviz.cli import layers, filters, maps, convert, explain, maximize, annotate

# isort: on
from onnxviz.cli.program import app, main, run

__all__ = ["annotate", "app", "convert", "explain", "filters", "layers", "main", "maps", "maximize", "run"]
