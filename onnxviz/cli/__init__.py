"""The command line: each command parses, calls the verb of the same name, and prints.

A file a command, which puts itself into `program.app`; `options` are what commands share, `terminal` and `progress`
what they say. Another command is another file, and its name in `program.PANELS`.
"""

from onnxviz.cli.program import main, run

__all__ = ["main", "run"]
