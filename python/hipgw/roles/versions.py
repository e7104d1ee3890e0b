"""Which version of HIP a peer is talked to in, where it may be more than one."""

import json
import logging
from ipaddress import IPv6Address
from pathlib import Path

from hipgw.identity.hit import hit_version, is_hit
from hipgw.naming.peers import Peer, PeerDirectory

REMEMBERED_MAX = 65536
"""Peers; one for each that may be configured."""

_log = logging.getLogger(__name__)


class VersionPolicy:
    """Peers that were heard in HIPv2, by an authentic exchange, are not talked to in HIPv1 again.

    Else who can suppress packets between two hosts could bring both down to HIPv1 at any time. What
    is known is kept in a file of the daemon's state folder, since a restart may be brought about as
    well. Peers that are configured for HIPv1 alone, or with it in the first place, are not
    concerned: that is their policy.
    """

    def __init__(self, directory: PeerDirectory, file: Path) -> None:
        """Read what is known from *file*; one that cannot be used counts as empty."""
        self._directory = directory
        self._file = file
        # Also those that are no peers now: they may be found again.
        self._modern = set(_read(file))

    def allows(self, hit: IPv6Address) -> bool:
        """Whether a peer may be talked to by this one of its HITs."""
        peer = self._directory.by_hit(hit)
        if peer is None or hit == peer.hit or hit_version(hit) > 1:
            return True
        return peer.hit not in self._modern

    def next_hit(self, peer: Peer, failed: IPv6Address) -> IPv6Address | None:
        """The HIT to call a peer by after one has failed; None if it was the last one."""
        later = peer.hits[peer.hits.index(failed) + 1 :]
        return next((hit for hit in later if self.allows(hit)), None)

    def established(self, hit: IPv6Address) -> None:
        """An association was made: take note of a peer that speaks HIPv2 after all."""
        peer = self._directory.by_hit(hit)
        if peer is None or len(peer.hits) < 2 or hit_version(hit) < 2 or hit in self._modern:
            return
        if peer.hit != hit:
            return  # its policy prefers HIPv1
        if len(self._modern) >= REMEMBERED_MAX:
            _log.warning(
                "no more peers can be remembered to speak HIPv2", extra={"peer": peer.name}
            )
            return
        self._modern.add(hit)
        try:
            text = json.dumps(sorted(map(str, self._modern)))
            temporary = self._file.with_suffix(".new")
            temporary.write_text(text)
            temporary.replace(self._file)
        except OSError as error:
            _log.warning(
                "cannot keep which peers speak HIPv2", extra={"reason": error.strerror or ""}
            )


def _read(file: Path) -> list[IPv6Address]:
    try:
        entries = json.loads(file.read_text())
        hits = [IPv6Address(entry) for entry in entries[:REMEMBERED_MAX]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        _log.warning(
            "which peers speak HIPv2 is forgotten",
            extra={"file": str(file), "reason": type(error).__name__},
        )
        return []
    return [hit for hit in hits if is_hit(hit)]
