"""Execution providers by their short names, with options, and which nodes of a graph run on which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxviz.errors import ProviderError
from onnxviz.messages import one_of, printable

CPU = "cpu"
# Words that the field uses for a provider beside onnxruntime's own.
_OTHER_WORDS = {"directml": "dml", "onednn": "dnnl"}
# Distributions that stand in for onnxruntime and have a provider more.
_DISTRIBUTIONS = {
    "cann": "onnxruntime-cann",
    "cuda": "onnxruntime-gpu",
    "dml": "onnxruntime-directml",
    "migraphx": "onnxruntime-migraphx",
    "openvino": "onnxruntime-openvino",
    "tensorrt": "onnxruntime-gpu",
}
DOCUMENTATION = "https://onnxruntime.ai/docs/execution-providers"


def short_name(provider: str) -> str:
    """The short name of an execution provider: `cuda` for `CUDAExecutionProvider`, for `CUDA` and for `cuda`."""
    name = re.sub("executionprovider$", "", provider.strip().lower())
    return _OTHER_WORDS.get(name, name)


@dataclass(frozen=True)
class Provider:
    """An execution provider as it was asked for; `str` writes it as it is read.

    Attributes:
        name: its short name.
        options: (name, value) of each provider option, for onnxruntime to read.
    """

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        listed = ",".join(f"{name}={value}" for name, value in self.options)
        return f"{self.name}:{listed}" if listed else self.name

    @classmethod
    def parse(cls, text: str) -> Provider:
        """The provider of `cpu`, `openvino:device_type=CPU,num_streams=1` and the like.

        A comma ends an option where another NAME= follows, so that `device_type=HETERO:GPU,CPU` is one.

        Raises:
            ProviderError: an option is not NAME=VALUE or is given twice, or there are some for `cpu`.
        """
        name, colon, rest = text.partition(":")
        provider = short_name(name)
        options: dict[str, str] = {}
        for part in re.split(r",(?=\s*\w+\s*=)", rest) if colon else ():
            key, _, value = (piece.strip() for piece in part.partition("="))
            if not re.fullmatch(r"\w+", key) or not value or key in options:
                raise ProviderError(
                    f"'{printable(part)}' is no option of provider '{printable(provider)}'; write each once, as "
                    "NAME=VALUE with commas between: openvino:device_type=CPU,num_streams=1"
                )
            options[key] = value
        if options and provider == CPU:
            # onnxruntime reads none, whatever their names, and says nothing.
            raise ProviderError(f"provider 'cpu' takes no options; '{printable(rest)}' was given: leave it out")
        return cls(provider, tuple(options.items()))

    def among(self, there: Sequence[str], known: Sequence[str], version: str) -> str:
        """onnxruntime's name of this provider.

        Args:
            there: names of the providers that this onnxruntime offers.
            known: names of those that a build of this version may offer.
            version: of onnxruntime.

        Raises:
            ProviderError: it is not there; the message says what is, and what to install.
        """
        names = {short_name(name): name for name in there}
        if self.name in names:
            return names[self.name]
        offered = listed(there)
        if self.name not in {*map(short_name, known), *_DISTRIBUTIONS}:
            one_of("provider", self.name, offered, ProviderError)
        wanted = _DISTRIBUTIONS.get(self.name)
        how = f"install {wanted} in its place" if wanted else f"install a build that has it ({DOCUMENTATION})"
        raise ProviderError(
            f"provider '{self.name}' was asked for, but this onnxruntime {version} has {', '.join(offered)}; {how}"
        )


def listed(providers: Sequence[str]) -> list[str]:
    """Short names of providers, `cpu` first, the others in onnxruntime's order: that of precedence."""
    return sorted(map(short_name, providers), key=lambda name: name != CPU)


@dataclass(frozen=True)
class NodeAssignment:
    """Which nodes of a graph run on which execution provider, in the words of onnxruntime: its graph assignment.

    Nodes are counted as onnxruntime has them when it assigns them: constants are folded by then, and batch norms fused.

    Attributes:
        provider: that was asked for, as `Provider` writes it.
        nodes: by provider's short name, how many nodes of each operator; None where this onnxruntime does not tell.
    """

    provider: str
    nodes: Mapping[str, Mapping[str, int]] | None

    @property
    def total(self) -> int:
        """How many nodes there are, 0 where that is not known."""
        return sum(sum(counts.values()) for counts in (self.nodes or {}).values())

    @property
    def own(self) -> int:
        """How many run where they were asked to."""
        return sum((self.nodes or {}).get(Provider.parse(self.provider).name, {}).values())

    def words(self) -> str:
        """What a user should know: which nodes were handed to another provider; "" where none were."""
        if self.nodes is None:
            return f"which nodes ran on '{self.provider}', and which on the CPU, is not known: onnxruntime 1.24.1 tells"
        if self.own == self.total:
            return ""
        handed = "; ".join(
            f"{sum(counts.values())} on {name}: {', '.join(f'{op} ({count})' for op, count in counts.items())}"
            for name, counts in self.nodes.items()
            if name != Provider.parse(self.provider).name
        )
        return f"{self.own} of {self.total} nodes ran on {self.provider}, {handed}"
