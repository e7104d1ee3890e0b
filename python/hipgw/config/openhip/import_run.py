"""One translation from OpenHIP's files: what was read, and what has come of it so far."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from hipgw.config.openhip.conf import HipConf
from hipgw.config.openhip.hosts import Hosts

SELF = "self"
"""How this machine is named in a list of peers."""
WEAK_BITS = 1024
"""RSA and DSA keys that are shorter are refused, if nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a user should know about one thing that was read."""

    where: str
    """A tag of hip.conf, or a host."""
    what: str
    kept: bool = False
    """Whether it has no effect in hipgw and was kept for the way back only."""


@dataclass(slots=True)
class Import:
    """What is there, and what has come of it so far."""

    conf: HipConf
    known: Hosts
    mine: Hosts
    my_file: Path
    table: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, rsa.RSAPrivateKey | dsa.DSAPrivateKey] = field(default_factory=dict)
    files: dict[IPv6Address, str] = field(default_factory=dict)
    names: dict[IPv6Address, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def note(self, where: str, what: str, *, kept: bool = False) -> None:
        self.notes.append(Note(where, what, kept))

    def set(self, key: str, value: Any) -> None:
        *tables, name = key.split(".")
        table = self.table
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = value


def plain_word(name: str) -> str:
    """A name in the characters that a peer's name may have."""
    word = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:55].lstrip("_.-")
    # What reads as an address cannot be a peer's name, and SELF is this machine.
    return f"host-{word}" if word == SELF or re.fullmatch(r"[\d.]+", word) else word


def unique(name: str, taken: set[str], suffix: str = "") -> str:
    """A name that is not taken yet, which it is from now on; *suffix* stays its end."""
    stem = name.removesuffix(suffix)
    number = 2
    while name in taken:
        name = f"{stem}-{number}{suffix}"
        number += 1
    taken.add(name)
    return name
