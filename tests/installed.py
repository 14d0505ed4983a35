"""Whether the package is installed: commands are found by its console script, converters by its entry points."""

from importlib.metadata import PackageNotFoundError, distribution


def missing() -> str:
    """What is missing and what to do; empty where nothing is."""
    try:
        there = {(entry.group, entry.name) for entry in distribution("onnxviz").entry_points}
    except PackageNotFoundError:
        return "onnxviz is not installed, so its command and its converters cannot be found: pip install -e . first"
    needed = {("console_scripts", "onnxviz"), *(("onnxviz.converters", name) for name in ("keras", "pytorch"))}
    lacking = ", ".join(f"{group}: {name}" for group, name in sorted(needed - there))
    return f"the installed onnxviz lacks {lacking}; it is an old one: pip install -e . again" if lacking else ""
