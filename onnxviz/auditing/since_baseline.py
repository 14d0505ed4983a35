"""Findings since a baseline: which are new, which are gone, and which were accepted there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxviz.auditing.finding import Finding

Key = tuple[str, str, int | None, str]


@dataclass(frozen=True)
class SinceBaseline:
    """What an audit finds that the baseline's did not, and the other way round; by what they are about, not by values.

    Only checks that ran both times count: what one of them could not look at is neither new nor gone.

    Attributes:
        label: what the model was called in the baseline.
        sha256: of the model then.
        new: findings of now.
        gone: findings of then.
    """

    label: str
    sha256: str
    new: tuple[Finding, ...]
    gone: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "path": self.label, "sha256": self.sha256,
            "new": [one.as_dict() for one in self.new], "gone": [one.as_dict() for one in self.gone],
        }  # fmt: skip

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> SinceBaseline:
        """That of which `as_dict` made the entry."""
        new, gone = (tuple(map(Finding.of, entry[which])) for which in ("new", "gone"))
        return cls(entry["path"], entry["sha256"], new, gone)


@dataclass(frozen=True)
class KeptFindings:
    """The findings of a baseline.

    Attributes:
        findings: all of them, those that were accepted too.
        ran: codes of the checks that ran to their end.
    """

    findings: tuple[Finding, ...]
    ran: frozenset[str]

    @classmethod
    def read(cls, entries: Sequence[Mapping[str, Any]], ran: Sequence[str]) -> KeptFindings:
        """Those of which `Finding.as_dict` made the entries.

        Raises:
            LookupError, TypeError, ValueError: they are broken.
        """
        for entry in entries:
            texts = [entry[name] for name in ("code", "message", "do")]
            texts += [entry[name] or "" for name in ("layer", "where")] + [entry.get("accepted", "")]
            numbers = [entry[name] for name in ("channel", "value", "threshold")]
            if not all(isinstance(one, str) for one in texts) or not all(
                isinstance(n, int | float | None) for n in numbers
            ):
                raise TypeError("a finding is broken")
        return cls(tuple(map(Finding.of, entries)), frozenset(map(str, ran)))

    def renamed(self, names: Mapping[str, str], channel: Callable[[str, int], int | None]) -> KeptFindings:
        """The same under the names that layers have now, and the numbers that filters have.

        Args:
            names: of layers now, by those then.
            channel: the number of a filter now, by the layer's name now and its number then; None where it is gone.
        """
        found = []
        for one in self.findings:
            layer = names.get(one.layer, one.layer)
            number = one.channel
            if number is not None and one.layer in names:
                number = channel(layer, number)
            found.append(replace(one, layer=layer, where=names.get(one.where, one.where), channel=number))
        return KeptFindings(tuple(found), self.ran)

    def accepted(self, findings: Iterable[Finding]) -> list[Finding]:
        """Findings of now, with the reason for which the baseline's let them pass, where these do not have one."""
        reasons = {_key(one): one.reason for one in self.findings if one.reason}
        return [one if one.reason else replace(one, reason=reasons.get(_key(one), "")) for one in findings]

    def changes(
        self, findings: Sequence[Finding], ran: frozenset[str], of_it: frozenset[str]
    ) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
        """The findings that are new, and those that are gone.

        Args:
            findings: of now.
            ran: codes of the checks that ran to their end now.
            of_it: codes of the checks that hold the model against the baseline: they say themselves what is new.
        """
        new = Counter(map(_key, findings))
        old = Counter(map(_key, self.findings))
        news, gone = [], []
        for one in findings:
            if new[_key(one)] > old[_key(one)] and one.code in self.ran - of_it:
                new[_key(one)] -= 1
                news.append(one)
        new = Counter(map(_key, findings))
        for one in self.findings:
            if old[_key(one)] > new[_key(one)] and one.code in ran - of_it:
                old[_key(one)] -= 1
                gone.append(one)
        return tuple(news), tuple(gone)


def _key(one: Finding) -> Key:
    return one.code, one.layer, one.channel, one.where
