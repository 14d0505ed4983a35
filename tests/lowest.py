"""Prints the lowest versions of the package's dependencies that pyproject.toml allows, as pip's constraints."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def lowest(dependencies: list[str]) -> list[str]:
    """`name==version` of each `name>=version`."""
    found = []
    for one in dependencies:
        matched = re.fullmatch(r"([\w.-]+)>=([\w.]+)", one)
        if matched is None:
            raise ValueError(f"{one} is not of the form name>=version, so its lowest version is not known")
        found.append(f"{matched[1]}=={matched[2]}")
    return found


if __name__ == "__main__":
    print(*lowest(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]), sep="\n")
