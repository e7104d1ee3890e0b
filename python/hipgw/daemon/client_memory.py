"""Which clients a mobile router or a relay had, so that it can call them after it was restarted.

Their associations are gone then, and they would find out only when they ask for something.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

from hipgw.identity.hit import is_hit
from hipgw.protocol.mobile_router.transit import Place
from hipgw.protocol.path import Transport

FILE_NAME = "mobile-router-clients.json"
REMEMBERED_MAX = 65536
FILE_MAX = 16 << 20
"""Octets."""

_log = logging.getLogger(__name__)


class ClientMemory:
    """HITs of clients, and where they were, in a file of the daemon's state folder."""

    def __init__(self, directory: Path, name: str = FILE_NAME) -> None:
        """Read what an earlier run has left; a file that cannot be used counts as empty."""
        self._file = directory / name
        self.places: Mapping[IPv6Address, Place] = _read(self._file)
        """As they are in the file."""

    def keep(
        self, clients: Iterable[tuple[IPv6Address, Place | None]], *, others: bool = False
    ) -> None:
        """These are the clients now: write them down if they have changed.

        *others*: besides those that are remembered.
        """
        places = dict(self.places) if others else {}
        places |= {hit: place for hit, place in clients if place is not None}
        if places == self.places:
            return
        self.places = places
        entries = [_entry(hit, place) for hit, place in places.items()]
        temporary = self._file.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(entries))
            temporary.replace(self._file)
        except OSError as error:
            _log.warning(
                "cannot keep which clients there are", extra={"reason": error.strerror or ""}
            )


def _entry(hit: IPv6Address, place: Place) -> dict[str, Any]:
    address, transport = str(place.address), place.transport.value
    return {"hit": str(hit), "address": address, "transport": transport, "port": place.port}


def _read(file: Path) -> dict[IPv6Address, Place]:
    try:
        with file.open("rb") as opened:
            entries = json.loads(opened.read(FILE_MAX))
        places = {
            IPv6Address(entry["hit"]): Place(
                ip_address(entry["address"]), Transport(entry["transport"]), int(entry["port"])
            )
            for entry in entries[:REMEMBERED_MAX]
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        _log.warning(
            "which clients there were is forgotten",
            extra={"file": str(file), "reason": type(error).__name__},
        )
        return {}
    return {hit: place for hit, place in places.items() if is_hit(hit) and 0 < place.port < 1 << 16}
