"""One daemon: builds the rooms from a configuration, runs them, and takes them down again."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path as FilePath

from hipgw.config.schema import Config
from hipgw.control.server import ControlServer
from hipgw.daemon import endbox, interfaces
from hipgw.daemon.backends import make_dataplane, usable_suites
from hipgw.daemon.control_service import ControlService
from hipgw.daemon.directory import make_directory
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.event_log import EventLog
from hipgw.daemon.lan_watch import LanWatch
from hipgw.daemon.machine_settings import machine_config
from hipgw.daemon.membership import Membership
from hipgw.daemon.mobile_router import MobileRouterParts
from hipgw.daemon.naming import NamingServices, Surroundings
from hipgw.daemon.naming_parts import build
from hipgw.daemon.relay_clients import RelayClients
from hipgw.daemon.roles import make_roles
from hipgw.daemon.stun import StunRunner
from hipgw.daemon.transport import ControlTransport
from hipgw.dataplane.backend import (
    Acquire,
    ControlReceived,
    DataPlane,
    DataPlaneEvent,
    Fatal,
    FirstData,
    SecurityAssociation,
    SourceChanged,
    StunReceived,
    UnknownSpi,
)
from hipgw.dataplane.esp_core import EspCoreDataPlane
from hipgw.dataplane.lan import GROUP_HIT
from hipgw.errors import HipgwError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.logs import packet_path_logger
from hipgw.naming.peers import PeerDirectory
from hipgw.platform import multicast, privileges, sockets
from hipgw.platform.address_watch import AddressWatch
from hipgw.platform.instance import InstanceLock
from hipgw.platform.journal import Journal
from hipgw.platform.rtnetlink import Snapshot
from hipgw.platform.underlay import Underlay, UnderlaySettings
from hipgw.protocol.effects import (
    Effect,
    Established,
    PathChanged,
    PingReply,
)
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.nat.stun_client import StunClient
from hipgw.protocol.path import IPAddress, Path, Transport
from hipgw.protocol.path_mtu import MtuSource
from hipgw.roles.dead_peers import LOOK_S, DeadPeerDetection, look_interval
from hipgw.roles.endbox import EndboxRole
from hipgw.roles.lifetimes import Limits, worn
from hipgw.roles.multicast_group import MulticastGroup
from hipgw.roles.role import Role
from hipgw.roles.security_associations import SecurityAssociations, traffic
from hipgw.roles.versions import VersionPolicy
from hipgw.roles.without_data import WithoutData

STUN_REFRESH_S = 20.0
"""How often STUN servers are asked if there are no keepalives."""
CLOSE_PATIENCE_S = 1.0
"""How long a stopping daemon waits for CLOSE_ACK."""

_log = logging.getLogger(__name__)
_packet_log = packet_path_logger(__name__ + ".packets")


class Service:
    """The composition root. `run` does everything, on the running event loop."""

    def __init__(
        self,
        config: Config,
        config_file: FilePath,
        identities: Sequence[LocalIdentity],
        *,
        call: str = "",
    ) -> None:
        """*identities*: one for each version of HIP that is spoken, the preferred one first.

        *call* is the name of a peer that is called at once, whatever the roles do by themselves, or
        an address at which somebody is called.
        """
        self._call = call
        self._config = config
        self._config_file = config_file
        self._identities = identities
        self._identity = identities[0]
        self._stop = asyncio.Event()
        self._status = 0
        self._roles: list[Role] = []
        self._dead_peers = DeadPeerDetection()
        self._stun: StunRunner | None = None
        self._multicast: MulticastGroup | None = None
        self._mobile_router: MobileRouterParts | None = None
        self._lan: LanWatch | None = None
        self._lan_since = 0.0
        self._relay_clients: RelayClients | None = None
        self._limits = Limits(config.esp.rekey_packets, config.esp.rekey_bytes)
        self._membership = Membership(config, [identity.hit for identity in identities])

    async def run(self) -> int:
        """Run until told to stop (SIGTERM, SIGINT or `hipgw stop`); returns the exit status.

        Raises HipgwError when it cannot start; what was set up by then is taken down.
        """
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            await self._stop.wait()
            await self._say_goodbye()
        return self._status

    # -- start -------------------------------------------------------------------------------

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        config, identity = self._config, self._identity
        loop = asyncio.get_running_loop()
        # Before anything is undone: what stands there may be in use by a living daemon.
        lock = InstanceLock(config.daemon.state_dir)
        stack.callback(lock.release)
        journal = Journal(config.daemon.state_dir)
        if count := journal.recover():
            _log.warning("undid what an earlier run left behind", extra={"changes": count})
        stack.callback(journal.undo)

        suites = usable_suites(config)
        self._dataplane = dataplane = make_dataplane(config)
        directory, lsis = make_directory(config)
        self._directory = directory
        self._event_log = EventLog(directory)
        own_lsi = lsis.assign(identity.hit, config.host.lsi if config.host else None)
        self._watch = AddressWatch(
            interfaces.underlay_settings(config),
            self._addresses_changed,
            interfaces.steering(config, journal),
            self._looked,
        )
        transport = self._open_sockets(dataplane)
        stack.callback(transport.stop, loop)
        interfaces.check_ports(config)
        mtu = interfaces.smallest_path_mtu(config)
        if config.host is not None:
            device = interfaces.open_host(
                config.host,
                dataplane,
                [one.hit for one in self._identities],
                own_lsi,
                mtu,
                config.esp,
                journal,
            )
            stack.callback(device.close)
        if config.endbox is not None:
            lan = endbox.lan_settings(config, config.endbox, identity.hit)
            self._lan_since = time.monotonic()
            device = interfaces.open_endbox(config.endbox, dataplane, journal, config.esp, lan)
            stack.callback(device.close)
            self._lan = LanWatch(interfaces.lan_links(config.endbox), journal)
        if config.mobile_router is not None:
            hits = [one.hit for one in self._identities]
            self._mobile_router = MobileRouterParts(config, config.mobile_router, hits, journal)
            stack.callback(self._mobile_router.rules.close)
            stack.callback(self._mobile_router.stop)
        heartbeat = endbox.heartbeat_files(config)
        if heartbeat is not None:
            stack.callback(heartbeat.close)

        group = endbox.multicast_group(config, dataplane, identity.hit, mtu)
        if group is not None:
            self._multicast, group_membership = group
            stack.callback(group_membership.close)

        self._naming = NamingServices(
            Surroundings(
                config,
                self._config_file,
                self._identities,
                directory,
                own_lsi,
                journal,
                self._roles,
                self._membership,
                lambda: self._watch.addresses,
            )
        )
        stack.push_async_callback(self._naming.stop)
        build(self._naming)

        server_slot = contextlib.AsyncExitStack()
        await stack.enter_async_context(server_slot)
        self._versions = VersionPolicy(directory, config.daemon.state_dir / "heard-in-v2.json")
        settings = machine_config(config, directory, self._versions, suites, self._membership)
        self._driver = driver = HipDriver(
            HipMachine(settings, self._identities, os.urandom, time.monotonic()),
            transport,
            self._security_associations(dataplane),
            directory,
            self._handle_event,
            self._versions,
            self._naming.finder,
            is_barred=self._membership.is_barred,
        )
        stack.callback(driver.stop)
        if config.nat.stun_servers:
            self._stun = self._make_stun(transport)
            stack.callback(self._stun.stop)
        self._control = ControlService(
            config,
            self._config_file,
            self._identities,
            driver,
            dataplane,
            directory,
            self._membership,
            self._watch,
            self._naming,
            self._stop.set,
        )
        self._server = ControlServer(
            config.daemon.control_socket, self._control, group=config.daemon.control_group
        )
        await self._server.start()
        server_slot.push_async_callback(self._server.stop)

        await self._naming.prepare()
        self._drop_privileges(journal)
        dataplane.start(busy_poll_us=config.esp.busy_poll_us, realtime=config.esp.realtime)
        stack.callback(dataplane.stop)
        loop.add_reader(dataplane.fileno(), self._dataplane_readable)
        stack.callback(loop.remove_reader, dataplane.fileno())
        transport.start(loop, driver.datagram_received, driver.packet_too_big)
        if self._mobile_router is not None:
            self._mobile_router.start(loop, driver, self._router_moved, self._dataplane_stopped)
            self._control.mobile_router_parts = self._mobile_router
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if config.mobility.enabled:
            self._watch.start(loop)
            stack.callback(self._watch.stop)
            self._addresses_changed(self._watch.addresses)
        elif self._lan is not None:
            # Nobody wants to know of own addresses, but of the LAN's interfaces.
            watch = AddressWatch(UnderlaySettings(), lambda _: None, looked=self._looked)
            watch.start(loop)
            stack.callback(watch.stop)
        self._control.lan = self._lan
        looking = loop.create_task(self._look_at_traffic())
        stack.callback(looking.cancel)

        if config.endbox is not None and isinstance(dataplane, EspCoreDataPlane):
            timers = endbox.EndboxTimers(
                config.endbox, dataplane, heartbeat, directory.name_of, self._lan_since
            )
            stack.callback(timers.stop)
            self._control.election = timers.election
            self._control.multicast = self._multicast
        self._start_roles(directory)
        if config.relay is not None:
            self._relay_clients = RelayClients(config.daemon.state_dir, driver)
            stack.callback(self._relay_clients.rest)
            self._relay_clients.start()
        await self._naming.start(driver)
        # What lives as long as the daemon is not to be looked through again and again for garbage:
        # it is much, and everybody waits meanwhile.
        gc.collect()
        gc.freeze()
        _log.info(
            "hipgw is running", extra={"hit": str(identity.hit), "roles": ",".join(config.roles)}
        )
        if self._call:
            await self._call_at_once(self._call)

    async def _call_at_once(self, called: str) -> None:
        try:
            await self._control.connect(called, timeout_s=0)
        except HipgwError as error:
            _log.warning("%s is not called: %s", called, error)

    def _security_associations(self, dataplane: DataPlane) -> SecurityAssociations | WithoutData:
        config = self._config
        served = config.rvs is not None or config.mobile_router is not None
        if served and not config.carries_data:
            return WithoutData()
        return SecurityAssociations(
            dataplane,
            replay_window=config.esp.replay_window,
            segment_of=self._segment_of,
            path_mtu=lambda remote: interfaces.path_mtu_to(config, remote),
            interface_of=self._watch.interface_of,
            mtu_source=MtuSource.CONFIG if config.esp.path_mtu else MtuSource.ROUTE,
        )

    def _open_sockets(self, dataplane: DataPlane) -> ControlTransport:
        """All sockets, IPv4 and IPv6, UDP and raw: who calls chooses how (RFC 9028 §4.5)."""
        udp: dict[int, socket.socket] = {}
        raw: dict[int, socket.socket] = {}
        icmp: list[socket.socket] = []
        relayed: dict[tuple[int, int], socket.socket] = {}
        # Only the engine relays; a configuration that wants another backend to is refused.
        engine = dataplane if isinstance(dataplane, EspCoreDataPlane) else None
        relay = self._config.relay if engine is not None else None
        rvs = self._config.rvs
        if rvs is not None and engine is not None:
            engine.set_rendezvous(
                per_source=rvs.packets_per_source, per_client=rvs.packets_per_client
            )
        discovers = self._config.esp.discovers_path_mtu
        for version in (4, 6) if sockets.ipv6_there() else (4,):
            udp[version] = sockets.open_udp(version, self._config.hip.port, dont_fragment=discovers)
            dataplane.add_udp_socket(udp[version].fileno())
            raw[version] = sockets.open_raw(version, sockets.HIP_PROTOCOL)
            with sockets.open_raw(version, sockets.ESP_PROTOCOL, dont_fragment=discovers) as esp:
                if version == 4 and self._config.endbox and self._config.endbox.multicast_group:
                    multicast.prepare_to_send(esp)
                dataplane.add_esp_socket(esp.fileno())
            for port in relay.port_range if relay is not None else ():
                # What is relayed may be cut: this host does not know what is behind the path.
                sock = sockets.open_udp(version, port, key="relay.first_port")
                relayed[version, port] = sock
                if engine is not None:
                    engine.add_relay_socket(sock.fileno())
            if discovers:
                icmp.append(sockets.open_icmp(version))
        return ControlTransport(
            udp,
            raw,
            udp_port=self._config.hip.port,
            icmp=icmp,
            interface_of=self._watch.interface_of,
            relayed=relayed,
        )

    def _make_stun(self, transport: ControlTransport) -> StunRunner:
        client = StunClient(
            [(server.address, server.port) for server in self._config.nat.stun_servers],
            self._config.hip.port,
            os.urandom,
            refresh_s=self._config.hip.keepalive_s or STUN_REFRESH_S,
        )
        return StunRunner(client, transport.send_stun, self._driver.reflexive_address)

    def _drop_privileges(self, journal: Journal) -> None:
        user = self._config.daemon.user
        if os.geteuid() == 0 and user != "root":
            user_id, group_id = privileges.user_and_group(user)
            journal.hand_over(user_id, group_id)
            privileges.drop(user, realtime=self._config.esp.realtime)
        else:
            privileges.protect_memory()

    def _start_roles(self, directory: PeerDirectory) -> None:
        self._roles += make_roles(
            self._config,
            directory,
            self._dataplane,
            self._driver,
            self._naming.finder,
            self._membership,
            self._mobile_router,
        )
        for role in self._roles:
            role.start()

    # -- while it runs -----------------------------------------------------------------------

    def _segment_of(self, hit: IPv6Address) -> int:
        for role in self._roles:
            if isinstance(role, EndboxRole):
                return role.segment_of(hit)
        return 0

    def _addresses_changed(self, addresses: tuple[IPAddress, ...]) -> None:
        listed = ", ".join(map(str, addresses))
        if addresses:
            _log.info("own addresses", extra={"addresses": listed})
        else:
            _log.warning("there is no usable own address")
        self._driver.addresses_changed(addresses)
        if self._stun is not None:
            self._stun.addresses_changed(addresses)
        if self._multicast is not None:
            self._multicast.addresses_changed(addresses)
        self._naming.addresses_changed(addresses)

    def _looked(self, snapshot: Snapshot, underlay: Underlay) -> None:
        if self._lan is not None:
            self._lan.looked(snapshot)
        if self._mobile_router is not None:
            self._mobile_router.looked(snapshot, underlay)

    def _router_moved(self, addresses: list[str]) -> None:
        if self._server.has_subscribers:
            self._server.publish({"kind": "outside", "time": time.time(), "addresses": addresses})

    def _dataplane_readable(self) -> None:
        events = self._dataplane.drain_events()
        if self._mobile_router is not None:
            events = self._mobile_router.in_order(events)
        for event in events:
            try:
                self._handle_dataplane_event(event)
            except HipgwError as error:
                _packet_log.warning("event of the data plane: %s", error)
            except Exception:
                # A fault of ours in one event must not cost the others of the batch.
                _packet_log.exception("event of the data plane")

    def _handle_dataplane_event(self, event: DataPlaneEvent) -> None:
        match event:
            case ControlReceived():
                path = Path(
                    event.local,
                    event.remote,
                    Transport.UDP,
                    event.local_port,
                    event.remote_port,
                )
                self._driver.datagram_received(event.data, path)
            case StunReceived():
                path = Path(
                    event.local,
                    event.remote,
                    Transport.UDP,
                    event.local_port,
                    event.remote_port,
                )
                if self._stun is None or not self._stun.received(event.data, path):
                    self._driver.stun_received(event.data, path)
            case FirstData(spi=spi):
                self._driver.data_received(spi)
            case Acquire(destination=destination):
                if not any(role.acquire(destination) for role in self._roles):
                    self._dataplane.drop_held(destination)
            case SourceChanged(spi=spi):
                source = Path(event.local, event.remote, Transport.RAW)
                if event.udp:
                    source = Path(
                        event.local,
                        event.remote,
                        Transport.UDP,
                        event.local_port,
                        event.remote_port,
                    )
                self._driver.source_changed(spi, source)
            case UnknownSpi():
                self._call_back(event)
                _packet_log.info(
                    "ESP for an unknown SPI",
                    extra={"spi": f"{event.spi:#010x}", "remote": str(event.remote)},
                )
            case Fatal(message=message):
                self._dataplane_stopped(message)

    def _dataplane_stopped(self, why: str) -> None:
        _log.critical("the data plane has stopped: %s", why)
        self._status = 1
        self._stop.set()

    def _call_back(self, event: UnknownSpi) -> None:
        """Call a peer that uses an association which this host does not have (any more).

        It does not know yet that this host was restarted. Anybody can forge such a packet, and gets
        nothing by it but an I1 to that peer's own address, once a second at most.
        """
        peer = self._directory.by_address(event.remote)
        if peer is not None and not self._driver.is_up(peer.hit):
            self._driver.connect(peer)

    def _handle_event(self, event: Effect) -> None:
        """News from the HIP machine: to the roles, the log and the subscribers."""
        self._control.handle_event(event)
        if isinstance(event, PingReply | PathChanged):
            self._dead_peers.answered(event.peer_hit, time.monotonic())
        self._naming.handle_event(event)
        if self._relay_clients is not None:
            self._relay_clients.handle_event(event)
        for role in self._roles:
            role.handle_event(event)
        self._event_log.write(event)
        if isinstance(event, Established | PathChanged) and self._config.esp.discovers_path_mtu:
            # Behind what else this event is to do: R2, and the data, have to come first.
            asyncio.get_running_loop().call_soon(self._driver.discover_path_mtu, event.peer_hit)
        if self._server.has_subscribers and (answer := self._control.describe(event)):
            self._server.publish(answer)

    async def _look_at_traffic(self) -> None:
        interval_s, cut_off = LOOK_S, False
        while True:
            await asyncio.sleep(interval_s)
            # The multicast group is no peer that could be silent, or be asked for new keys.
            associations = [
                entry
                for entry in self._dataplane.security_associations()
                if entry.peer_hit != GROUP_HIT
            ]
            interval_s = look_interval(len(associations))
            self._renew_worn(associations)
            flowing = traffic(associations)
            used: set[IPv6Address] = set()
            for entry in flowing:
                sent = entry.sent_s is not None and entry.sent_s < interval_s
                heard = entry.received_s is not None and entry.received_s < interval_s
                if sent or heard:
                    used.add(entry.peer_hit)
                    self._driver.data_flows(entry.peer_hit, one_way=not heard)
                if sent:
                    self._driver.data_sent(entry.peer_hit)
            for role in self._roles:
                used.update(role.kept())
            self._driver.traffic_seen(used)
            machine = self._driver.machine
            was_cut_off, cut_off = cut_off, machine.cut_off
            if cut_off or (self._config.mobility.enabled and not self._watch.addresses):
                # Nobody can answer; who is still there, the next address or network shows.
                self._dead_peers.forget()
                continue
            if was_cut_off:
                self._driver.retry()
            up = [entry for entry in flowing if self._driver.is_up(entry.peer_hit)]
            now = time.monotonic()
            found = self._dead_peers.look(up, now, partial(machine.may_be_cut_off, now=now))
            for hit in found.search:
                self._driver.path_silent(hit)
            for hit in found.ask:
                self._driver.ping(hit)
            for hit in found.dead:
                self._driver.lost(hit)
                self._driver.close(hit, "it does not answer any more")

    def _renew_worn(self, associations: list[SecurityAssociation]) -> None:
        """Have the keys of security associations replaced that have carried enough."""
        for entry in worn(associations, self._limits):
            for info in self._driver.machine.associations(entry.peer_hit):
                # A replaced one lingers on, to take stragglers.
                if entry.spi == (
                    info.inbound_spi if entry.direction == "in" else info.outbound_spi
                ):
                    self._driver.sa_used(info.inbound_spi, entry.packets, entry.bytes)

    async def _say_goodbye(self) -> None:
        """Close all associations, so that the peers need not find out by themselves."""
        _log.info("hipgw is stopping")
        self._roles.clear()
        if self._mobile_router is not None:
            self._mobile_router.rest()
        if self._relay_clients is not None:
            self._relay_clients.rest()
        self._driver.close_all()
        deadline = time.monotonic() + CLOSE_PATIENCE_S
        while self._driver.machine.association_count and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
