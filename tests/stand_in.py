"""Prints the package's dependencies with another distribution in the place of onnxruntime, as pip's requirements."""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(dependencies: list[str], stand_in: str) -> list[str]:
    """The dependencies, `stand_in` in any version in the place of onnxruntime."""
    found = [stand_in if re.match(r"onnxruntime(?![\w.-])", one) else one for one in dependencies]
    if stand_in not in found:
        raise ValueError("onnxruntime is not among the dependencies")
    return found


if __name__ == "__main__":
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    print(*requirements(project["dependencies"], sys.argv[1]), sep="\n")
