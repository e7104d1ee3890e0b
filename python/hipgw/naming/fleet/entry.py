"""One entry of a fleet's directory: a machine, or that it is gone, signed by an operator.

An entry is a table of texts, whole numbers, booleans and lists of texts, written as TOML in a file
and as JSON in etcd. What is signed is the same for both: a line that says what it is, then the
table without its signature in JSON with sorted keys, no white space and ASCII alone. Whoever can
write to the directory can therefore neither admit a stranger nor move a machine to another address
or LAN; and `revision`, which only grows, keeps what was once right from being put back (`Book`).
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from hipgw.errors import NamingError
from hipgw.identity.hit import is_hit
from hipgw.identity.operator_key import SIGNATURE_OCTETS, OperatorKey, OperatorPublicKey

IPAddress = IPv4Address | IPv6Address
Table = Mapping[str, Any]

CONTEXT = b"hipgw fleet entry 1\n"
"""What every signed text begins with: such a key signs nothing that could be taken for another."""
OCTETS_MAX = 16384
"""Of one entry, as it is signed."""
LIST_MAX = 16
"""Addresses, LANs, relays and rendezvous servers of one machine, each."""
REVISION_MAX = 2**63 - 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
"""Names of machines, LANs and fleets: as those of `[[peer]]`."""

PEER_KEYS = (
    *("hit", "hit_v1", "versions", "compat", "addresses", "transport", "port", "relays", "rvs"),
)
"""Keys that mean what they mean in a `[[peer]]` table."""
_TYPES: dict[str, type] = {
    "fleet": str,
    "name": str,
    "revision": int,
    "signer": str,
    "removed": bool,
    "expires": str,
    "accept": bool,
    "lans": list,
    "hit": str,
    "hit_v1": str,
    "versions": list,
    "compat": str,
    "addresses": list,
    "transport": str,
    "port": int,
    "relays": list,
    "rvs": list,
}
_OF_THE_REMOVED = {"fleet", "name", "revision", "signer", "removed"}


class EntryError(NamingError):
    """An entry that is refused; the text says why, without naming it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What an operator has said of one machine, verified."""

    fleet: str
    name: str
    revision: int
    """Grows with every change of this name, for ever."""
    signer: str
    """Id of the operator's key."""
    table: Table = field(repr=False)
    """As it was signed, signature included."""
    removed: bool = False
    """The machine has left the fleet. Nothing below means anything then."""
    expires: datetime | None = None
    """From when on it is not believed any more; in UTC."""
    accept: bool = True
    """Whether it may associate at all; if not, `hip.accept` does not let it in either."""
    lans: tuple[str, ...] = ()
    """The LANs that it may exchange frames in."""
    hits: tuple[IPv6Address, ...] = ()
    """Its HIT, and that of HIP version 1 if it has another one there."""
    addresses: tuple[IPAddress, ...] = ()
    rvs: tuple[str, ...] = ()
    """Names of machines, or IP addresses."""

    def valid_at(self, now: float) -> bool:
        """Whether it counts at a time, given in seconds since 1970."""
        return not self.removed and (self.expires is None or now < self.expires.timestamp())

    def peer(self) -> dict[str, Any]:
        """The `[[peer]]` table that it comes to."""
        return {"name": self.name} | {
            key: self.table[key] for key in PEER_KEYS if key in self.table
        }


def sign(table: Table, key: OperatorKey) -> dict[str, Any]:
    """The table with its signer and signature. Raises EntryError for what cannot be an entry."""
    unsigned = {name: value for name, value in table.items() if name != "signature"}
    unsigned["signer"] = key.public.id
    _parse(unsigned)
    signature = key.sign(signed_octets(unsigned))
    return {**unsigned, "signature": base64.b64encode(signature).decode()}


def verify(table: Table, keys: Iterable[OperatorPublicKey], fleet: str) -> Entry:
    """The entry that a table is, if one of these keys has signed it for this fleet.

    Raises EntryError. Nothing of the table is believed before its signature was verified.
    """
    signature, signer = table.get("signature"), table.get("signer")
    if not isinstance(signature, str) or not isinstance(signer, str):
        raise EntryError("it is not signed")
    key = next((key for key in keys if key.id == signer), None)
    if key is None:
        raise EntryError("it is signed by a key that is none of the operators'")
    try:
        octets = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if len(octets) != SIGNATURE_OCTETS or not key.verify(octets, signed_octets(table)):
        raise EntryError("its signature is wrong: it was changed after it was signed, or made up")
    entry = _parse(table)
    if entry.fleet != fleet:
        raise EntryError(f"it is of another fleet, {entry.fleet}")
    return entry


def signed_octets(table: Table) -> bytes:
    """What is signed of a table. Raises EntryError for values that no entry has."""
    plain = {}
    for key, value in table.items():
        texts = isinstance(value, list) and all(type(item) is str for item in value)
        if not isinstance(key, str) or not (type(value) in (str, int, bool) or texts):
            raise EntryError("it has values other than texts, numbers, booleans and lists of texts")
        if key != "signature":
            plain[key] = value
    try:
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    except ValueError:
        # An integer with more digits than Python writes.
        raise EntryError("it has a number that is too large") from None
    octets = CONTEXT + text.encode("ascii")
    if len(octets) > OCTETS_MAX:
        raise EntryError(f"it is larger than {OCTETS_MAX} octets")
    return octets


def claimed_name(table: Table) -> str:
    """The name that a table says it is of, for a log; nothing of it is proven."""
    name = table.get("name")
    return name if isinstance(name, str) and NAME.fullmatch(name) else "?"


def _parse(table: Table) -> Entry:
    for key, value in table.items():
        if key == "signature":
            continue
        kind = _TYPES.get(key)
        if kind is None:
            # A policy that is not understood must not be passed over.
            raise EntryError(f"it has the key {key[:40]!r}, which is not known here")
        if type(value) is not kind:
            raise EntryError(f"{key} is of a wrong type")
        if isinstance(value, list) and (
            len(value) > LIST_MAX or not all(type(item) is str for item in value)
        ):
            raise EntryError(f"{key} is no list of at most {LIST_MAX} texts")
    removed = table.get("removed", False)
    for key in ("fleet", "name", "revision", "signer", *(() if removed else ("hit",))):
        if key not in table:
            raise EntryError(f"{key} is missing")
    if removed and set(table) - _OF_THE_REMOVED - {"signature"}:
        raise EntryError("it is removed, and says more than that")
    for key in ("fleet", "name"):
        _name(key, table[key])
    if not 0 < table["revision"] <= REVISION_MAX:
        raise EntryError("revision is out of range")
    hits = tuple(_hit(table[key], key) for key in ("hit", "hit_v1") if key in table)
    return Entry(
        fleet=table["fleet"],
        name=table["name"],
        revision=table["revision"],
        signer=table["signer"],
        table=dict(table),
        removed=removed,
        expires=_time(table["expires"]) if "expires" in table else None,
        accept=table.get("accept", True),
        lans=tuple(_name("lans", lan) for lan in table.get("lans", ())),
        hits=hits,
        addresses=tuple(_address(text) for text in table.get("addresses", ())),
        rvs=tuple(table.get("rvs", ())),
    )


def _name(key: str, text: str) -> str:
    if not NAME.fullmatch(text):
        raise EntryError(f"{key} has to be 1 to 63 letters, digits, '.', '_' or '-'")
    return text


def _hit(text: str, key: str) -> IPv6Address:
    try:
        hit = IPv6Address(text)
    except ValueError:
        raise EntryError(f"{key} is not a HIT") from None
    if not is_hit(hit) or hit.scope_id:
        raise EntryError(f"{key} is not a HIT")
    return hit


def _address(text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise EntryError("one of its addresses is none") from None


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        at = at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise EntryError("expires is no time such as 2030-01-31T12:00:00Z") from None
    return at
