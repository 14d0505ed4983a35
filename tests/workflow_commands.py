"""Workflow commands as GitHub's runner reads them from a step's log (actions/runner, `ActionCommand.cs`)."""

import re
from dataclasses import dataclass

REGISTERED = {
    "error", "warning", "notice", "debug", "group", "endgroup", "add-mask", "add-matcher", "remove-matcher", "echo",
    "set-output", "save-state", "set-env", "add-path", "stop-commands",
}  # fmt: skip


@dataclass(frozen=True)
class Command:
    """One command: its name, its properties and its text."""

    name: str
    properties: dict[str, str]
    data: str


def command_of(line):
    """What the runner makes of a line: the form `::name a=b::text`, else `##[name a=b]text` anywhere; else None."""
    stripped = line.lstrip()
    if stripped.startswith("::") and (end := stripped.find("::", 2)) >= 0:
        name, _, rest = stripped[2:end].partition(" ")
        if name in REGISTERED:
            pairs = _pairs(rest.strip(), ",")
            return Command(
                name, {key: _read(value, "\r\n:,%") for key, value in pairs}, _read(stripped[end + 2 :], "\r\n%")
            )
    if (start := line.find("##[")) >= 0 and (end := line.find("]", start)) >= 0:
        name, _, rest = line[start + 3 : end].partition(" ")
        if name in REGISTERED:
            pairs = _pairs(rest, ";")
            return Command(
                name, {key: _read(value, ";\r\n]%") for key, value in pairs}, _read(line[end + 1 :], ";\r\n]%")
            )
    return None


def _pairs(text, separator):
    for one in text.split(separator):
        key, equals, value = one.partition("=")
        if equals and key and value:
            yield key, value


def _read(text, characters):
    """Each `%XX` of the characters, in this order, put back."""
    for one in characters:
        text = text.replace(f"%{ord(one):02X}", one)
    return text


class Step:
    """A step's log as the runner takes it in.

    Attributes:
        commands: those that were carried out, in order; while they are stopped, none is.
    """

    def __init__(self, log):
        self.commands = []
        token = None
        for line in re.split(r"\r\n|\r|\n", log):
            if token is not None:
                if line.strip().startswith(f"::{token}::"):
                    token = None
                continue
            command = command_of(line)
            if command is not None and command.name == "stop-commands":
                token = command.data
            elif command is not None:
                self.commands.append(command)
        self.stopped = token is not None

    def of(self, *names):
        """The commands of these names."""
        return [one for one in self.commands if one.name in names]
