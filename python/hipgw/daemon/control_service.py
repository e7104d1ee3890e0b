"""Answers the control socket: the daemon's side of `hipgw.control.api.ControlApi`."""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from importlib.metadata import version
from ipaddress import IPv6Address
from pathlib import Path as FilePath

from hipgw.config.names import (
    EspBackend,
)
from hipgw.config.schema import Config
from hipgw.control.api import (
    REGISTRATIONS_MAX,
    AddressesAnswer,
    AssociationAnswer,
    CloseAnswer,
    ConnectAnswer,
    CountersAnswer,
    EndboxAnswer,
    EventAnswer,
    FleetAnswer,
    HealthWarning,
    LocalHitAnswer,
    MacAnswer,
    MobileClientAnswer,
    MobileRouterAnswer,
    PeerAnswer,
    PingReplyAnswer,
    RegistrationAnswer,
    RekeyAnswer,
    ResolveAnswer,
    SaAnswer,
    StatusAnswer,
)
from hipgw.control.errors import UnknownPeerError
from hipgw.daemon.address_answers import addresses_answer
from hipgw.daemon.association_answers import association_answer, sa_answer
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.endbox_answers import (
    election_answer,
    endbox_answer,
    lan_warnings,
    multicast_answer,
)
from hipgw.daemon.events import event_answer, path_answer
from hipgw.daemon.fleet_answers import fleet_warnings
from hipgw.daemon.health import Health
from hipgw.daemon.lan_watch import LanWatch
from hipgw.daemon.membership import Membership
from hipgw.daemon.mobile_router import MobileRouterParts
from hipgw.daemon.mobile_router_answers import (
    mobile_client_answers,
    mobile_router_answer,
    mobile_router_warnings,
)
from hipgw.daemon.naming import NamingServices
from hipgw.daemon.opportunistic import OpportunisticCalls, underlay_address
from hipgw.daemon.peer_answers import UP_STATES, PeerAnswers
from hipgw.daemon.registration_answers import registration_answers
from hipgw.daemon.resolve_answers import resolve_answer
from hipgw.dataplane.backend import DataPlane
from hipgw.errors import LocalProtocolError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.naming.peers import PeerDirectory
from hipgw.platform.address_watch import AddressWatch
from hipgw.protocol.compat import RFC
from hipgw.protocol.effects import Closed, Effect, Established, Failed, PingReply, Rekeyed
from hipgw.protocol.path import IPAddress
from hipgw.protocol.states import State
from hipgw.roles.endbox import SEGMENT
from hipgw.roles.hello import Election
from hipgw.roles.multicast_group import MulticastGroup

VERSION = version("hipgw")
"""Read here, because the files it stands in may be out of reach once privileges are dropped."""


class ControlService:
    """Reads everything it answers from the rooms themselves; keeps only what nobody else does."""

    def __init__(
        self,
        config: Config,
        config_file: FilePath,
        identities: Sequence[LocalIdentity],
        driver: HipDriver,
        dataplane: DataPlane,
        directory: PeerDirectory,
        membership: Membership,
        watch: AddressWatch,
        naming: NamingServices,
        request_stop: Callable[[], None],
    ) -> None:
        self._config = config
        self._config_file = config_file
        self._identities = identities
        self._identity = identities[0]
        self._driver = driver
        self._dataplane = dataplane
        self._directory = directory
        self._watch = watch
        self._naming = naming
        self._request_stop = request_stop
        self._membership = membership
        self._peers = PeerAnswers(config, directory, membership, driver)
        self._health = Health(config, directory, endboxes=lambda: membership.endboxes)
        self._opportunistic = OpportunisticCalls(driver, config.hip.transport)
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._waiting: dict[IPv6Address, set[asyncio.Future[Effect]]] = {}
        self._pings: dict[int, asyncio.Future[PingReply]] = {}
        self.election: Election | None = None
        """Set once there is one on the LAN."""
        self.multicast: MulticastGroup | None = None
        """Set once there is one."""
        self.lan: LanWatch | None = None
        """The same."""
        self.mobile_router_parts: MobileRouterParts | None = None
        """The same."""

    # -- news --------------------------------------------------------------------------------

    def handle_event(self, event: Effect) -> None:
        """Take note of what happened, and wake those who wait for it."""
        self._health.handle_event(event)
        self._opportunistic.handle_event(event)
        self._peers.handle_event(event)
        match event:
            case PingReply(request=request):
                if waiting := self._pings.pop(request, None):
                    waiting.set_result(event)
            case Established(peer_hit=hit) | Rekeyed(peer_hit=hit) | Closed(peer_hit=hit):
                self._wake(hit, event)
            case Failed(peer_hit=IPv6Address() as hit):
                self._wake(hit, event)
            case _:
                pass

    def describe(self, event: Effect) -> EventAnswer | None:
        """An event as subscribers get it; None for what is not news to them."""
        return event_answer(event, self._directory)

    # -- answers -----------------------------------------------------------------------------

    def status(self) -> StatusAnswer:
        config = self._config
        infos = self._driver.machine.associations()
        # Clients of the rendezvous server that are silent: nothing is up with them but that.
        resting = self._driver.machine.resting_count
        found = sum(1 for peer in self._directory if peer.was_found)
        has_lsi = config.host is not None and config.esp.backend is EspBackend.ENGINE
        lsi = str(self._own_lsi()) if has_lsi else None
        identities: list[LocalHitAnswer] = [
            {
                "hit": str(identity.hit),
                "version": identity.version,
                "algorithm": identity.public.describe(),
                "lsi": lsi,
            }
            for identity in self._identities
        ]
        return {
            "version": VERSION,
            "pid": os.getpid(),
            "uptime_s": time.monotonic() - self._began,
            "config_file": str(self._config_file),
            "roles": list(config.roles),
            "identities": identities,
            "transport": config.hip.transport.value,
            "port": config.hip.port,
            "counts": {
                "peers": len(self._directory) - found,
                "found": found,
                "established": resting + sum(1 for info in infos if info.state in UP_STATES),
                "associations": resting + len(infos),
                "security_associations": len(self._dataplane.security_associations()),
                "macs": len(self._macs()),
            },
            "profiles": self._profiles(),
            "mobile_router": self.mobile_router(),
            "health": self._warnings(),
        }

    def peers(self) -> list[PeerAnswer]:
        return self._peers.answers()

    def associations(self) -> list[AssociationAnswer]:
        now = time.monotonic()
        return [
            association_answer(
                info, self._name(info.peer_hit), self._driver.path_mtu(info.peer_hit), now
            )
            for info in self._driver.machine.associations()
        ]

    def security_associations(self) -> list[SaAnswer]:
        entries = self._dataplane.security_associations()
        return [sa_answer(entry, self._name(entry.peer_hit)) for entry in entries]

    def mac_table(self) -> list[MacAnswer]:
        return self._macs()

    def addresses(self) -> AddressesAnswer:
        infos = self._driver.machine.associations()
        seen = self._driver.machine.reflexive_addresses(time.monotonic())
        return addresses_answer(self._watch, infos, self._directory, seen)

    def registrations(self) -> list[RegistrationAnswer]:
        infos = self._driver.machine.registrations(most=REGISTRATIONS_MAX)
        return registration_answers(infos, self._directory, time.monotonic())

    def endbox(self) -> EndboxAnswer | None:
        endbox = self._config.endbox
        if endbox is None:
            return None
        learned = self._dataplane.mac_table(SEGMENT)
        macs = Counter(entry.peer_hit for entry in learned)
        is_up = self._driver.is_up
        membership = self._membership
        answer = endbox_answer(membership.config, endbox, membership.endbox_names, macs, is_up)
        if self.election is not None:
            answer["election"] = election_answer(endbox, self.election, self._directory)
        if self.multicast is not None:
            answer["multicast"] = multicast_answer(self.multicast)
        return answer

    def mobile_router(self) -> MobileRouterAnswer | None:
        parts = self.mobile_router_parts
        return None if parts is None else mobile_router_answer(parts, self._driver)

    def mobile_router_clients(self) -> list[MobileClientAnswer] | None:
        parts = self.mobile_router_parts
        if parts is None:
            return None
        return mobile_client_answers(parts, self._driver, self._directory)

    def counters(self) -> CountersAnswer:
        control = self._driver.machine.statistics()
        data = self._dataplane.statistics()
        packets = {f"sent_{name}": count for name, count in control["sent"].items()}
        packets |= {f"received_{name}": count for name, count in control["received"].items()}
        packets |= {f"relayed_{name}": count for name, count in control["relayed"].items()}
        packets["rendezvous_clients"] = self._driver.machine.rendezvous_count
        packets["rendezvous_resting"] = self._driver.machine.resting_count
        packets["puzzle_difficulty"] = self._driver.machine.puzzle_difficulty(time.monotonic())
        packets["send_errors"] = self._driver.send_errors
        dataplane = dict(data.counters)
        if self.mobile_router_parts is not None:
            passed = self.mobile_router_parts.statistics()
            dataplane |= {f"spinat_{name}": count for name, count in passed.items()}
        return {
            "control": packets,
            "control_drops": control["drops"],
            "dataplane": dataplane,
            "dataplane_drops": data.drops,
            "names": self._naming.counters(),
        }

    def identify(self, peer: str) -> tuple[str, str]:
        hit = self._hit(peer)
        return self._directory.name_of(hit), str(hit)

    # -- requests ----------------------------------------------------------------------------

    async def ping(
        self, peer: str, *, count: int, interval_s: float, timeout_s: float
    ) -> AsyncGenerator[PingReplyAnswer, None]:
        hit = self._hit(peer)
        for sequence in range(1, count + 1):
            began = time.monotonic()
            request = self._driver.ping(hit)
            waiting: asyncio.Future[PingReply] = self._loop.create_future()
            self._pings[request] = waiting
            answer: PingReplyAnswer = {"sequence": sequence, "rtt_s": None, "path": None}
            try:
                reply = await asyncio.wait_for(waiting, timeout_s)
                answer["rtt_s"] = reply.rtt
                answer["path"] = path_answer(reply.path)
            except TimeoutError:
                pass
            finally:
                self._pings.pop(request, None)
            yield answer
            if sequence < count:
                await asyncio.sleep(max(0.0, began + interval_s - time.monotonic()))

    def fleet(self) -> FleetAnswer | None:
        answer = self._naming.fleet_answer
        return None if answer is None else answer()

    async def resolve(self, query: str) -> ResolveAnswer:
        return await resolve_answer(
            query, self._naming.resolver, self._directory, self._naming.suffix
        )

    async def connect(self, peer: str, *, timeout_s: float) -> ConnectAnswer:
        if self._directory.find(peer) is None:
            address = underlay_address(peer)
            if address is None:
                await self._naming.look_up(peer)
            elif (there := self._at(address)) is not None:
                peer = str(there)
            else:
                return await self._call_whoever(address, timeout_s)
        hit = self._hit(peer)
        known = self._directory.by_hit(hit)
        duration_s: float | None = None
        reason: str | None = None
        if known is not None and self._membership.has_no_pair(known.name):
            reason = "it is in no pair of endbox.allowed_pairs with this machine"
        elif not self._driver.is_up(hit):
            if known is None:
                raise LocalProtocolError(f"the addresses of {hit} are not known")
            with self._wait_for(hit) as outcome:
                self._driver.connect(known)
                with contextlib.suppress(TimeoutError):
                    match await asyncio.wait_for(outcome, timeout_s) if timeout_s else None:
                        case Established(duration=seconds):
                            duration_s = seconds
                        case Failed(reason=why) | Closed(reason=why):
                            reason = why
                        case _:
                            pass
        established = self._driver.is_up(hit)
        if not established and timeout_s and reason is None:
            reason = f"no answer within {timeout_s:g} s"
        return {
            "peer": self._directory.name_of(hit),
            "peer_hit": str(hit),
            "state": self._state(hit),
            "established": established,
            "duration_s": duration_s,
            "reason": reason,
        }

    async def _call_whoever(self, address: IPAddress, timeout_s: float) -> ConnectAnswer:
        """Associate with the machine at an address, whatever its HIT is."""
        if address.is_loopback or address in self._watch.addresses:
            raise LocalProtocolError(f"{address} is this machine itself")
        outcome = await self._opportunistic.call(address, timeout_s)
        hit = outcome.peer_hit
        established = hit is not None and self._driver.is_up(hit)
        return {
            "peer": str(address) if hit is None else self._directory.name_of(hit),
            "peer_hit": str(hit or IPv6Address(0)),
            "state": State.UNASSOCIATED.value if hit is None else self._state(hit),
            "established": established,
            "duration_s": outcome.duration_s,
            "reason": None if established else outcome.reason,
        }

    async def close(self, peer: str, *, timeout_s: float) -> CloseAnswer:
        hit = self._hit(peer)
        was_up = self._driver.is_up(hit)
        self._driver.close(hit, "closed by the operator")
        deadline = time.monotonic() + timeout_s
        while self._state(hit) == State.CLOSING.value and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return {
            "peer": self._directory.name_of(hit),
            "peer_hit": str(hit),
            "state": self._state(hit),
            "closed": was_up,
        }

    async def rekey(self, peer: str, *, timeout_s: float) -> RekeyAnswer:
        hit = self._hit(peer)
        answer: RekeyAnswer = {
            "peer": self._directory.name_of(hit),
            "peer_hit": str(hit),
            "rekeyed": False,
            "inbound_spi": None,
            "outbound_spi": None,
            "reason": None,
        }
        with self._wait_for(hit) as outcome:
            self._driver.rekey(hit, dh=self._config.esp.rekey_dh)
            with contextlib.suppress(TimeoutError):
                match await asyncio.wait_for(outcome, timeout_s) if timeout_s else None:
                    case Rekeyed(inbound_spi=inbound, outbound_spi=outbound):
                        answer["rekeyed"] = True
                        answer["inbound_spi"], answer["outbound_spi"] = inbound, outbound
                    case Failed(reason=why) | Closed(reason=why):
                        answer["reason"] = why
                    case _:
                        pass
        if timeout_s and not answer["rekeyed"] and answer["reason"] is None:
            answer["reason"] = f"no answer within {timeout_s:g} s"
        return answer

    def stop(self) -> None:
        self._request_stop()

    # -- inside ------------------------------------------------------------------------------

    def _hit(self, text: str) -> IPv6Address:
        if peer := self._directory.find(text):
            return self._driver.active_hit(peer.hit)
        for info in self._driver.machine.associations():
            if text == str(info.peer_hit):
                return info.peer_hit
        raise UnknownPeerError(text)

    def _at(self, address: IPAddress) -> IPv6Address | None:
        """The HIT of who is known to be at an address of the underlay."""
        if (peer := self._directory.by_address(address)) is not None:
            return peer.hit
        for info in self._driver.machine.associations():
            path = info.path
            if info.state in UP_STATES and path is not None and path.remote == address:
                return info.peer_hit
        return None

    def _own_lsi(self) -> object:
        return self._directory.lsi_of(self._identity.hit)

    def _name(self, hit: IPv6Address) -> str | None:
        peer = self._directory.by_hit(hit)
        return peer.name if peer else None

    def _state(self, hit: IPv6Address) -> str:
        infos = self._driver.machine.associations(hit)
        return (infos[0].state if infos else State.UNASSOCIATED).value

    def _macs(self) -> list[MacAnswer]:
        if self._config.endbox is None:
            return []
        return [
            {
                "mac": entry.mac,
                "vlan": entry.vlan,
                "segment": SEGMENT,
                "peer": self._name(entry.peer_hit),
                "peer_hit": str(entry.peer_hit),
                "age_s": entry.age_s,
            }
            for entry in self._dataplane.mac_table(SEGMENT)
        ]

    def _warnings(self) -> list[HealthWarning]:
        infos = self._driver.machine.associations()
        warnings = self._health.warnings(
            (self._directory.primary(one.peer_hit) for one in infos if one.state in UP_STATES),
            has_address=bool(self._watch.addresses),
            registrations=self._driver.machine.held_registrations(),
            failures=self._peers.failures,
            cut_off=self._driver.machine.cut_off,
        )
        if self.lan is not None:
            warnings = warnings + lan_warnings(self.lan.faults)
        if self.mobile_router_parts is not None:
            warnings = warnings + mobile_router_warnings(self.mobile_router_parts)
        fleet = self.fleet()
        if fleet is not None:
            bridges = self._config.endbox is None or bool(self._membership.endboxes)
            lonely = None if bridges else self._identity.hit
            warnings = warnings + fleet_warnings(fleet, lonely)
        return warnings

    def _profiles(self) -> dict[str, int]:
        names = (peer.compat(self._driver.active_hit(peer.hit)) for peer in self._directory)
        counted = Counter(name for name in names if name != RFC.name)
        return dict(sorted(counted.items()))

    def _wake(self, hit: IPv6Address, event: Effect) -> None:
        for waiting in self._waiting.get(self._directory.primary(hit), ()):
            if not waiting.done():
                waiting.set_result(event)

    @contextlib.contextmanager
    def _wait_for(self, hit: IPv6Address) -> Iterator[asyncio.Future[Effect]]:
        waiting: asyncio.Future[Effect] = self._loop.create_future()
        hit = self._directory.primary(hit)
        group = self._waiting.setdefault(hit, set())
        group.add(waiting)
        try:
            yield waiting
        finally:
            group.discard(waiting)
            if not group:
                self._waiting.pop(hit, None)
