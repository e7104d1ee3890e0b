"""Answers of real name servers, kept octet for octet as long as they say.

The key is the whole query but its transaction id: whoever asks otherwise in a single bit (flags,
EDNS options, even the case of a letter) is answered by the server, not from here.
"""

from dataclasses import dataclass

from hipgw.naming.dns.octets import times_to_live

_SIZE_MAX_OCTETS = 4096
"""Longer answers are not kept: so the memory is bounded as well."""
_TTL_MAX_S = 86400
_TTL_MAX_ON_THE_WIRE = 0x7FFFFFFF
"""Greater ones count as zero (RFC 2181 §8)."""


@dataclass(slots=True)
class _Entry:
    body: bytes
    """Without the transaction id."""
    stored: float
    expires: float = 0.0
    places: tuple[int, ...] | None = None
    """Of TTLs in the body; None as long as nobody has asked twice."""


class AnswerCache:
    """Bounded; the oldest answers go first."""

    def __init__(self, limit: int) -> None:
        """*limit*: answers; 0 keeps none."""
        self._limit = limit
        self._entries: dict[bytes, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, query: bytes, answer: bytes, now: float) -> None:
        """Keep the answer to a query."""
        if not self._limit or len(answer) > _SIZE_MAX_OCTETS:
            return
        entries = self._entries
        key = query[2:]
        # A newer one goes to the end.
        entries.pop(key, None)
        if len(entries) >= self._limit:
            del entries[next(iter(entries))]
        # How long it is good for is only found out when it is asked for again: most never are.
        entries[key] = _Entry(answer[2:], now)

    def get(self, query: bytes, now: float) -> bytes | None:
        """The answer to the same query, with its transaction id and TTLs that have gone on."""
        key = query[2:]
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.places is None and not _examine(entry):
            del self._entries[key]
            return None
        if now >= entry.expires:
            del self._entries[key]
            return None
        age = int(now - entry.stored)
        if age <= 0:
            return query[:2] + entry.body
        body = bytearray(entry.body)
        for place in entry.places or ():
            left = int.from_bytes(body[place : place + 4], "big") - age
            body[place : place + 4] = max(left, 0).to_bytes(4, "big")
        return query[:2] + body

    def clear(self) -> None:
        """Forget all: the servers are others now."""
        self._entries.clear()


def _examine(entry: _Entry) -> bool:
    try:
        places, ttl_s = times_to_live(b"\0\0" + entry.body)
    except ValueError:
        return False
    if not 0 < ttl_s <= _TTL_MAX_ON_THE_WIRE:
        return False
    entry.places = tuple(place - 2 for place in places)
    entry.expires = entry.stored + min(ttl_s, _TTL_MAX_S)
    return True
