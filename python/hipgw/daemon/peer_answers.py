"""Peers, as the control socket answers them, and how it went with each of them lately."""

import time
from collections.abc import Mapping
from ipaddress import IPv6Address

from hipgw.config.schema import Config
from hipgw.control.api import PeerAnswer
from hipgw.daemon.association_answers import optional_path
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.membership import Membership
from hipgw.daemon.resolve_answers import rendezvous_text
from hipgw.identity.hit import hit_version
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.protocol.association_infos import AssociationInfo
from hipgw.protocol.effects import Closed, Effect, Established, Failed, PingReply
from hipgw.protocol.path import Transport
from hipgw.protocol.states import State

UP_STATES = frozenset({State.ESTABLISHED, State.R2_SENT})


class PeerAnswers:
    """Reads who is known from the rooms themselves; remembers round trips and failures."""

    def __init__(
        self,
        config: Config,
        directory: PeerDirectory,
        membership: Membership,
        driver: HipDriver,
    ) -> None:
        self._config = config
        self._directory = directory
        self._membership = membership
        self._driver = driver
        self._rtts: dict[IPv6Address, float] = {}
        self._attempts: dict[IPv6Address, int] = {}
        self._failures: dict[IPv6Address, str] = {}
        directory.subscribe(self._peer_changed)

    @property
    def failures(self) -> Mapping[IPv6Address, str]:
        """Why peers could not be associated with, or were lost, by their first HIT."""
        return self._failures

    def _peer_changed(self, old: Peer | None, new: Peer | None) -> None:
        """Who was taken out of the directory leaves nothing behind."""
        if old is not None and new is None:
            self._rtts.pop(old.hit, None)
            self._attempts.pop(old.hit, None)
            self._failures.pop(old.hit, None)

    def handle_event(self, event: Effect) -> None:
        """Take note of what happened."""
        match event:
            case PingReply(peer_hit=hit, rtt=rtt):
                self._rtts[self._directory.primary(hit)] = rtt
            case Established(peer_hit=hit):
                self._attempts.pop(self._directory.primary(hit), None)
                self._failures.pop(self._directory.primary(hit), None)
            case Closed(peer_hit=hit, reason=reason):
                self._note_failure(hit, reason)
            case Failed(peer_hit=IPv6Address() as hit, reason=reason):
                self._note_failure(hit, reason)
                if (peer := self._directory.by_hit(hit)) is not None:
                    self._attempts[peer.hit] = self._attempts.get(peer.hit, 0) + 1
            case _:
                pass

    def answers(self) -> list[PeerAnswer]:
        """Those of the directory, then strangers that there are associations with."""
        infos = {info.peer_hit: info for info in self._driver.machine.associations()}
        strangers = [hit for hit in infos if self._directory.by_hit(hit) is None]
        configured = [
            self._peer(peer, infos.get(self._driver.active_hit(peer.hit)))
            for peer in self._directory
        ]
        return configured + [self._stranger(infos[hit]) for hit in strangers]

    # -- inside ------------------------------------------------------------------------------

    def _note_failure(self, hit: IPv6Address, reason: str) -> None:
        # Bounded: strangers' failures are nobody's question.
        if (peer := self._directory.by_hit(hit)) is not None:
            self._failures[peer.hit] = reason

    def _peer(self, peer: Peer, info: AssociationInfo | None) -> PeerAnswer:
        roles = ["host"] if self._config.host is not None else []
        roles += ["endbox"] if self._membership.is_endbox(peer.hit) else []
        answer = self._common(peer.hit, info)
        answer["name"] = peer.name
        answer["addresses"] = [str(address) for address in peer.addresses]
        answer["relays"] = self._membership.relays(peer.name)
        answer["rendezvous"] = [rendezvous_text(server) for server in peer.rendezvous]
        answer["source"] = peer.source
        answer["transport"] = "udp" if peer.udp else "raw"
        if info is None:
            answer["version"] = hit_version(peer.hit)
            answer["compat"] = peer.compat(peer.hit)
        answer["roles"] = roles
        return answer

    def _stranger(self, info: AssociationInfo) -> PeerAnswer:
        answer = self._common(info.peer_hit, info)
        if info.path is not None:
            answer["transport"] = info.path.transport.value
        return answer

    def _common(self, hit: IPv6Address, info: AssociationInfo | None) -> PeerAnswer:
        up = info is not None and info.state in UP_STATES
        since = info.established_at if info is not None and up else None
        return {
            "name": None,
            "hit": str(hit),
            "lsi": str(self._directory.lsi_of(hit)),
            "version": info.version if info else 2,
            "compat": info.compat if info else "none",
            "addresses": [],
            "relays": [],
            "rendezvous": [],
            "source": None,
            "transport": Transport.UDP.value,
            "roles": [],
            "state": (info.state if info else self._state_at_rest(hit)).value,
            "path": optional_path(info.path) if info else None,
            "established_s": None if since is None else time.monotonic() - since,
            "rtt_s": self._rtts.get(hit),
            "attempts": self._attempts.get(hit, 0),
            "next_attempt_s": self._driver.retry_in(hit),
            "last_failure": self._failures.get(hit),
        }

    def _state_at_rest(self, hit: IPv6Address) -> State:
        """Of somebody without an association that is looked after: it may be a silent client."""
        return State.ESTABLISHED if self._driver.machine.is_up(hit) else State.UNASSOCIATED
