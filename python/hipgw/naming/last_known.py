"""Where peers were when they were last heard: what is left when nobody else knows."""

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from hipgw.identity.hit import is_hit
from hipgw.naming.peers import Peer
from hipgw.naming.sources import Found, Provenance

_log = logging.getLogger(__name__)

REMEMBERED_MAX = 4096
"""Peers; who was not heard for the longest time is forgotten first."""
ADDRESSES_MAX = 4
"""Of one peer, the latest first."""
AGE_MAX_S = 30 * 86400.0
TTL_S = 60.0
"""How long an answer may be used; the next association changes it."""
FILE_LIMIT_BYTES = 4_000_000


class LastKnown:
    """Remembers the addresses by which peers were reached, over restarts as well.

    An association proves that the peer was there. Its name is only as certain as it was then, and
    is no answer to who asks by name: whose name it is, another source has to say.
    """

    name = "last-known"

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        """Read what is known from *file*; one that cannot be used counts as empty."""
        self._file = file
        self._clock = clock
        self._known = _read(file)
        self._changed = False

    async def by_name(self, _name: str) -> Sequence[Found]:
        return ()

    async def by_hit(self, hit: IPv6Address) -> Sequence[Found]:
        entry = self._known.get(hit)
        if entry is None or self._clock() - entry[0] > AGE_MAX_S:
            return ()
        return (Found(hit, self.name, Provenance.SELF_SIGNED, TTL_S, addresses=entry[1]),)

    def note(self, peer: Peer, address: IPv4Address | IPv6Address) -> None:
        """There is an association with a peer at this address."""
        before = self._known.pop(peer.hit, (0.0, ()))[1]
        addresses = tuple(dict.fromkeys((address, *before)))[:ADDRESSES_MAX]
        self._known[peer.hit] = self._clock(), addresses
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        self._changed = True

    def forget(self, hit: IPv6Address) -> None:
        """Nothing has to be remembered of a peer any more."""
        if self._known.pop(hit, None) is not None:
            self._changed = True

    def save(self) -> None:
        """Write what has changed to the file."""
        if not self._changed:
            return
        text = json.dumps(
            [
                [str(hit), when, list(map(str, places))]
                for hit, (when, places) in self._known.items()
            ]
        )
        try:
            temporary = self._file.with_suffix(".new")
            # Whom this machine talks to is nobody else's business.
            temporary.touch(mode=0o600)
            temporary.chmod(0o600)
            temporary.write_text(text)
            temporary.replace(self._file)
            self._changed = False
        except OSError as error:
            _log.warning(
                "cannot keep where peers were last", extra={"reason": error.strerror or ""}
            )


_Entry = tuple[float, tuple[IPv4Address | IPv6Address, ...]]


def _read(file: Path) -> OrderedDict[IPv6Address, _Entry]:
    try:
        with file.open("rb") as opened:
            entries = json.loads(opened.read(FILE_LIMIT_BYTES))
        return OrderedDict(map(_entry, entries[-REMEMBERED_MAX:]))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        _log.warning(
            "where peers were last is forgotten",
            extra={"file": str(file), "reason": type(error).__name__},
        )
    return OrderedDict()


def _entry(raw: Any) -> tuple[IPv6Address, _Entry]:
    hit, when, places = raw
    if not is_hit(IPv6Address(hit)):
        raise ValueError(hit)
    return IPv6Address(hit), (float(when), tuple(map(ip_address, places[:ADDRESSES_MAX])))
