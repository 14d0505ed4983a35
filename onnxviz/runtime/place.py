"""Places: the execution provider and session options that a model runs with, as `MODEL@cuda` and `MODEL@noopt` say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxviz.errors import ProviderError
from onnxviz.messages import printable
from onnxviz.runtime.batching import DEFAULT_MEMORY
from onnxviz.runtime.providers import CPU, Provider
from onnxviz.runtime.session import RunOptions, provider_name

# The word for a session without graph optimisations.
UNOPTIMISED = "noopt"


@dataclass(frozen=True)
class Place:
    """Where and how a model runs; `str` writes it as it stands behind `@`.

    Attributes:
        provider: an execution provider, as `RunOptions.provider`.
        optimize: whether onnxruntime may rewrite the graph; only on the CPU may it not.
    """

    provider: str = CPU
    optimize: bool = True

    def __str__(self) -> str:
        return self.provider if self.optimize else UNOPTIMISED

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place of `cpu`, `cuda`, `openvino:device_type=CPU`, `noopt` and the like.

        Raises:
            ProviderError: there is none of that name here; the message says what there is.
        """
        if text.strip().lower() == UNOPTIMISED:
            return cls(optimize=False)
        provider = Provider.parse(text)
        provider_name(provider)
        return cls(str(provider))

    def options(self, memory: int = DEFAULT_MEMORY, threads: int = 0) -> RunOptions:
        """How a session here is run; arguments as for `RunOptions`."""
        return RunOptions(self.provider, memory, threads, self.optimize)


def split_place(text: str) -> tuple[str, Place]:
    """A model's path and the place that is named behind its last `@`: the CPU where none is.

    A file of that whole name is taken as it is, and so is a path with `@` in the names of folders alone. Of several,
    the last behind an existing file counts, else the last of all.

    Raises:
        ProviderError: no path is left of the `@`, or what is right of it is neither a provider that is there nor
            `noopt`; the message says what there is.
    """
    if _there(text):
        return text, Place()
    ends = [end for end, letter in enumerate(text) if letter == "@"]
    files = [end for end in ends if _there(text[:end])]
    # Behind it the options of a provider may name files.
    named = [end for end in ends if not {*"/\\"} & {*text[end + 1 :].partition(":")[0]}]
    if not files and not named:
        return text, Place()
    end = (files or named)[-1]
    path, word = text[:end], text[end + 1 :]
    if not path:
        raise ProviderError(f"'{printable(text)}' names no model: write MODEL@{printable(word) or CPU}")
    try:
        return path, Place.parse(word)
    except ProviderError as error:
        what = "behind @" if files else f"there is no file '{printable(text)}', and behind @"
        raise ProviderError(f"{what}: {error}; @{UNOPTIMISED} turns graph optimisations off") from None


def _there(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name that is too long for one
        return False
