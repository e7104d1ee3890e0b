"""What a machine believes of its fleet: the newest signed entry of each name."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address

from hipgw.identity.operator_key import OperatorPublicKey
from hipgw.naming.fleet.entry import Entry, EntryError, Table, claimed_name, signed_octets, verify

ENTRIES_MAX = 65536
"""Names of one fleet, those that were removed included."""
_TOLD_MAX = 1024


class Verdict(Enum):
    """What became of an entry that was offered."""

    TAKEN = "taken"
    """It is new, or newer than what was known of its name."""
    KNOWN = "known"
    """It is what is known already, or was refused in the same words before."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict on one entry."""

    verdict: Verdict
    name: str
    """As it says itself if it is refused."""
    reason: str = ""
    entry: Entry | None = None
    """If it was taken."""


class Book:
    """Entries by name. It takes what is signed, and never goes back.

    An entry that a directory does not have any more stays in force: only an operator removes one,
    by a newer entry that says so, or lets it expire. So nothing is lost with the directory, and who
    steals it cannot cut a machine off.
    """

    def __init__(
        self,
        fleet: str,
        keys: Iterable[OperatorPublicKey],
        *,
        entries_max: int = ENTRIES_MAX,
    ) -> None:
        self._fleet = fleet
        self._keys = tuple(keys)
        self._entries_max = entries_max
        self._entries: dict[str, Entry] = {}
        self._digests: dict[str, bytes] = {}
        self._told: dict[bytes, None] = {}
        """Digests of what was refused, the latest ones, so that it is told once."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """All that is known, what was removed and what has expired included."""
        return iter(self._entries.values())

    def get(self, name: str) -> Entry | None:
        """The newest entry of a name, whatever it says."""
        return self._entries.get(name)

    def offer(self, table: Table) -> Judgement:
        """Take an entry if it is signed and newer than what is known of its name."""
        name = claimed_name(table)
        try:
            digest = _digest(table)
        except EntryError as error:
            # It has no text that could be signed; it is told once all the same.
            digest = hashlib.sha256(repr(table).encode(errors="replace")).digest()
            known = digest in self._told
            self._tell_once(digest)
            return Judgement(Verdict.KNOWN if known else Verdict.REFUSED, name, str(error))
        try:
            if self._digests.get(name) == digest or digest in self._told:
                return Judgement(Verdict.KNOWN, name)
            entry = verify(table, self._keys, self._fleet)
            self._check_newer(entry)
        except EntryError as error:
            self._tell_once(digest)
            return Judgement(Verdict.REFUSED, name, str(error))
        self._entries[entry.name] = entry
        self._digests[entry.name] = digest
        return Judgement(Verdict.TAKEN, entry.name, entry=entry)

    def valid(self, now: float) -> Mapping[str, Entry]:
        """The entries in force at a time (seconds since 1970), by name.

        Of two names with the same HIT the one with the newer entry has it.
        """
        owners: dict[IPv6Address, Entry] = {}
        candidates = sorted(
            (entry for entry in self._entries.values() if entry.valid_at(now)),
            key=lambda entry: (entry.revision, entry.name),
            reverse=True,
        )
        valid = {}
        for entry in candidates:
            if not any(hit in owners for hit in entry.hits):
                owners.update(dict.fromkeys(entry.hits, entry))
                valid[entry.name] = entry
        return valid

    def next_expiry(self, now: float) -> float | None:
        """When the next entry expires (seconds since 1970); None if none will."""
        times = (
            entry.expires.timestamp()
            for entry in self._entries.values()
            if entry.expires is not None and not entry.removed
        )
        return min((time for time in times if time > now), default=None)

    def _check_newer(self, entry: Entry) -> None:
        known = self._entries.get(entry.name)
        if known is None:
            if len(self._entries) >= self._entries_max:
                raise EntryError(f"there are {self._entries_max} entries already")
        elif entry.revision < known.revision:
            raise EntryError(
                f"its revision {entry.revision} is older than {known.revision}, which is known: "
                "an old entry was put back"
            )
        elif entry.revision == known.revision:
            raise EntryError(f"there is another entry with its revision {entry.revision}")

    def _tell_once(self, digest: bytes) -> None:
        self._told[digest] = None
        if len(self._told) > _TOLD_MAX:
            del self._told[next(iter(self._told))]


def _digest(table: Table) -> bytes:
    signature = table.get("signature")
    text = signature if isinstance(signature, str) else ""
    octets = signed_octets(table) + b"\n" + text[:256].encode(errors="replace")
    return hashlib.sha256(octets).digest()
