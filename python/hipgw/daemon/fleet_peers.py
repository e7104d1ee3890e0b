"""What a fleet's entries come to on this machine: peers beside the configured ones, and a LAN."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from pydantic import ValidationError

from hipgw.config.schema import Config, PeerConfig
from hipgw.daemon.frame_formats import frame_formats
from hipgw.identity.esp_format import FrameFormat
from hipgw.naming.fleet.entry import Entry

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Merged:
    """The configuration and the fleet in one."""

    config: Config
    """With the fleet's peers, and those of them among the endbox's that share its LAN."""
    fleet: frozenset[str]
    """Names of the peers that the fleet has added."""
    barred: frozenset[IPv6Address]
    """HITs that may not associate."""
    lan: str | None
    """The LAN of this machine, if it is in one."""


class FleetPeers:
    """Makes peers of entries; says once of each why it cannot."""

    def __init__(self, config: Config, own_hits: Collection[IPv6Address]) -> None:
        self._config = config
        self._own_hits = frozenset(own_hits)
        self._spoken = set(config.spoken)
        self._names = {peer.name for peer in config.peers}
        self._hits = {hit for peer in config.peers for hit in peer.hits.values()}
        self._made: dict[tuple[str, int], PeerConfig | None] = {}
        """By name and revision, which stand for an entry's content."""

    def merge(self, entries: Mapping[str, Entry]) -> Merged:
        """The configuration with what these entries, by name, add to it."""
        own = next((one for one in entries.values() if self._own_hits & set(one.hits)), None)
        lan = self._lan(own)
        made: dict[tuple[str, int], PeerConfig | None] = {}
        added: list[PeerConfig] = []
        members: set[str] = set()
        barred: set[IPv6Address] = set()
        for entry in entries.values():
            if entry is own:
                continue
            if not entry.accept:
                barred.update(entry.hits)
                continue
            key = (entry.name, entry.revision)
            made[key] = peer = self._made[key] if key in self._made else self._peer(entry)
            if peer is not None:
                added.append(peer)
                if lan in entry.lans and not self._is_static(peer):
                    members.add(entry.name)
        self._made = made
        added.sort(key=lambda peer: peer.name)
        return Merged(
            self._with(added, members),
            frozenset(peer.name for peer in added),
            # What stands in the configuration of this machine is decided here.
            frozenset(barred - self._hits - self._own_hits),
            lan,
        )

    def _lan(self, own: Entry | None) -> str | None:
        fleet = self._config.fleet
        if fleet is not None and fleet.lan is not None:
            return fleet.lan
        return own.lans[0] if own is not None and own.lans else None

    def _with(self, added: Sequence[PeerConfig], members: Collection[str]) -> Config:
        merged = self._config.model_copy(update={"peers": (*self._config.peers, *added)})
        if merged.endbox is None:
            return merged
        # Of those that are configured, as the configuration says; of the fleet's, the LAN decides.
        names = [peer.name for peer in merged.endbox_peers if peer.name in self._names]
        names += [peer.name for peer in added if peer.name in members]
        endbox = merged.endbox.model_copy(update={"peers": tuple(names)})
        return merged.model_copy(update={"endbox": endbox})

    def _is_static(self, peer: PeerConfig) -> bool:
        """Whether frames go to it by configured addresses only, which it has none of here."""
        return FrameFormat.ETHERNET in frame_formats(self._config, peer)

    def _peer(self, entry: Entry) -> PeerConfig | None:
        if entry.name in self._names or self._hits & set(entry.hits):
            _note(entry, "the configuration of this machine has it, and goes first")
            return None
        try:
            peer = PeerConfig.model_validate(entry.peer())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            _warn(entry, ": ".join(part for part in (where, first["msg"]) if part))
            return None
        versions = self._config.versions_of(peer)
        if not versions or not set(versions) <= self._spoken:
            _warn(entry, "it speaks a version of HIP that this machine does not")
            return None
        if entry.lans and self._config.endbox is not None and self._is_static(peer):
            _warn(entry, "what OpenHIP needs of a LAN cannot come from a directory: it is in none")
        return peer


def _note(entry: Entry, reason: str) -> None:
    _log.info(
        "an entry of the fleet is not used here", extra={"entry": entry.name, "reason": reason}
    )


def _warn(entry: Entry, reason: str) -> None:
    _log.warning(
        "an entry of the fleet cannot be used here", extra={"entry": entry.name, "reason": reason}
    )
