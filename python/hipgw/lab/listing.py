"""The labs of this machine, by whatever process they were made."""

from dataclasses import dataclass
from pathlib import Path

from hipgw.lab import stale
from hipgw.platform import netns


@dataclass(frozen=True, slots=True)
class ListedLab:
    """A lab and its hosts."""

    name: str
    """NAME-PID."""
    namespaces: dict[str, str]
    """By the host's name."""
    directory: Path | None
    """Logs, configurations and control sockets; None if it is gone."""
    in_use: bool
    """False if its process is gone and `clean_stale` would remove it."""


def labs() -> list[ListedLab]:
    """Every lab, in order."""
    left_behind = set(stale.stale_labs())
    found: dict[str, dict[str, str]] = {name: {} for name in left_behind}
    for namespace in netns.names():
        if match := stale.NAMESPACE.fullmatch(namespace):
            found.setdefault(match["lab"], {})[match["host"]] = namespace
    return [
        ListedLab(name, namespaces, stale.directory_of(name), name not in left_behind)
        for name, namespaces in sorted(found.items())
    ]
