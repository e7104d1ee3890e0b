"""A simulated internet with NATs of every kind, relays and data."""

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv6Address, ip_address

from hipgw.identity.host_identity import LocalIdentity
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import (
    CloseRelayedPort,
    Direction,
    Effect,
    InstallSA,
    MoveSA,
    OpenRelayedPort,
    PermitPeer,
    RemoveSA,
    RevokePeer,
    SendDatagram,
    SendStun,
)
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.path import HIP_UDP_PORT, IPAddress, Path, Transport
from protocol.network import FAST, Network, Node

Place = tuple[IPAddress, int]
PUBLIC = "public"


class NatKind(Enum):
    """The classes of RFC 3489 §5, which everybody knows: how they map and what they let in."""

    NONE = "none"
    FULL_CONE = "full cone"
    ADDRESS_RESTRICTED = "address-restricted"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"
    DOUBLE = "double (port-restricted)"


@dataclass
class Nat:
    """Joins an inner realm with an outer one."""

    kind: NatKind
    outside: IPAddress
    inner: str
    outer: str
    next_port: int = 20000
    mappings: dict[tuple[Place, Place | None], int] = field(default_factory=dict)
    allowed: dict[int, set[Place]] = field(default_factory=dict)
    """By outer port: whom the inner host has written to."""

    def outbound(self, source: Place, target: Place) -> Place:
        key = (source, target if self.kind is NatKind.SYMMETRIC else None)
        port = self.mappings.get(key)
        if port is None:
            port = self.mappings[key] = self.next_port
            self.next_port += 1
        self.allowed.setdefault(port, set()).add(target)
        return self.outside, port

    def inbound(self, source: Place, port: int) -> Place | None:
        inner = next((key[0] for key, own in self.mappings.items() if own == port), None)
        allowed = self.allowed.get(port, set())
        if inner is None:
            return None
        match self.kind:
            case NatKind.FULL_CONE:
                return inner
            case NatKind.ADDRESS_RESTRICTED:
                return inner if source[0] in {place[0] for place in allowed} else None
            case _:
                return inner if source in allowed else None

    def forget(self) -> None:
        """As if it were restarted."""
        self.mappings.clear()
        self.allowed.clear()


@dataclass
class Esp:
    """A data packet."""

    spi: int
    text: str


@dataclass
class Stun:
    """A STUN message."""

    data: bytes


@dataclass
class RelayedPorts:
    """What a data plane does for a relay: the same rules as the engine's."""

    open: set[int] = field(default_factory=set)
    permits: list[PermitPeer] = field(default_factory=list)
    forwarded: int = 0
    refused: int = 0


class Internet(Network):
    """Hosts in realms; NATs join the realms."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(seed)
        self.nats: dict[str, Nat] = {}
        """By inner realm."""
        self.realm: dict[str, str] = {}
        """Of each host, by name."""
        self.further: dict[tuple[str, IPAddress], str] = {}
        """Of hosts with several interfaces, by name and address."""
        self.hosts: dict[tuple[str, IPAddress], Node] = {}
        self.paths: dict[tuple[str, int], Path] = {}
        """Of outbound security associations, by host and SPI."""
        self.relaying: dict[str, RelayedPorts] = {}
        self.arrived: list[tuple[str, str]] = []
        """(receiver, text) of everything that arrived."""
        self.travelled: list[tuple[str, Place, Place, bytes]] = []
        """Every HIP packet as it left its host."""
        self.stun: list[tuple[str, Place, Place, bytes]] = []
        """The same of STUN messages."""

    def nat(self, kind: NatKind, outside: str, inner: str, outer: str = PUBLIC) -> Nat:
        made = self.nats[inner] = Nat(kind, ip_address(outside), inner, outer)
        return made

    def host(
        self,
        name: str,
        address: str,
        keys: LocalIdentity,
        config: MachineConfig = FAST,
        realm: str = PUBLIC,
    ) -> Node:
        where = ip_address(address)
        machine = HipMachine(config, [keys], self.random.randbytes, self.now)
        node = Node(name, where, keys, config, machine)
        self.all[name] = node
        self.hosts[realm, where] = node
        self.realm[name] = realm
        self.relaying[name] = RelayedPorts()
        self.perform(node, machine.addresses_changed([where], self.now))
        return node

    def behind(
        self,
        name: str,
        kind: NatKind,
        number: int,
        keys: LocalIdentity,
        config: MachineConfig = FAST,
    ) -> Node:
        """A host behind a NAT of a kind; *number* tells sites apart."""
        outside = f"198.51.100.{number}"
        if kind is NatKind.NONE:
            return self.host(name, outside, keys, config)
        realm = f"site {number}"
        if kind is NatKind.DOUBLE:
            self.nat(NatKind.PORT_RESTRICTED, outside, f"provider {number}")
            self.nat(NatKind.PORT_RESTRICTED, "100.64.0.7", realm, f"provider {number}")
        else:
            self.nat(kind, outside, realm)
        # The same private address everywhere: it must not matter.
        return self.host(name, "192.168.1.2", keys, config, realm)

    def also_at(self, node: Node, address: str, realm: str = PUBLIC) -> None:
        """Give a host one more interface and address, behind the others."""
        where = ip_address(address)
        self.hosts[realm, where] = node
        self.further[node.name, where] = realm
        more = [one for (_, one), other in self.hosts.items() if other is node]
        addresses = [node.address, *(one for one in more if one != node.address)]
        self.perform(node, node.machine.addresses_changed(addresses, self.now))

    def move(self, node: Node, address: str, realm: str = PUBLIC) -> None:
        """Take a host to another place."""
        where = ip_address(address)
        self.hosts = {place: other for place, other in self.hosts.items() if other is not node}
        self.hosts[realm, where] = node
        self.realm[node.name] = realm
        node.address = where
        self.perform(node, node.machine.addresses_changed([where], self.now))

    def call(self, node: Node, peer_hit: IPv6Address, target: str) -> None:
        path = Path(node.address, ip_address(target))
        self.perform(node, node.machine.connect(peer_hit, [path], self.now))

    def perform(self, node: Node, effects: list[Effect]) -> None:
        relaying = self.relaying[node.name]
        for effect in effects:
            match effect:
                case InstallSA(direction=Direction.OUTBOUND, spi=spi, path=path):
                    self.paths[node.name, spi] = path
                case MoveSA(spi=spi, path=path):
                    assert (node.name, spi) in self.paths, "moved before it was installed"
                    self.paths[node.name, spi] = path
                case RemoveSA(direction=Direction.OUTBOUND, spi=spi):
                    self.paths.pop((node.name, spi), None)
                case OpenRelayedPort(port=port):
                    assert port not in relaying.open
                    relaying.open.add(port)
                case CloseRelayedPort(port=port):
                    relaying.open.remove(port)
                    assert not [permit for permit in relaying.permits if permit.port == port]
                case PermitPeer():
                    if effect in relaying.permits:
                        relaying.permits.remove(effect)
                    relaying.permits.append(effect)
                case RevokePeer():
                    relaying.permits.remove(permit_of(effect))
                case SendStun():
                    self._send_stun(node, effect)
                case _:
                    pass
        super().perform(node, effects)

    def send_data(self, node: Node, peer: Node, text: str = "data") -> bool:
        """Send one ESP packet by the newest security association; False if there is none."""
        sas = [
            sa
            for sa in node.installed
            if sa.direction is Direction.OUTBOUND
            and sa.peer_hit == peer.hit
            and (node.name, sa.spi) in self.paths
        ]
        if not sas:
            return False
        path = self.paths[node.name, sas[-1].spi]
        source = (path.local or node.address, path.local_port)
        self._travel(
            self._realm(node, source),
            source,
            (path.remote, path.remote_port),
            Esp(sas[-1].spi, text),
        )
        return True

    def flows(self, one: Node, other: Node) -> bool:
        """Whether data gets through both ways now."""
        for source, target in ((one, other), (other, one)):
            text = f"{source.name} {self.random.random()}"
            if not self.send_data(source, target, text):
                return False
            self.run(0.1)
            if (target.name, text) not in self.arrived:
                return False
        return True

    # -- inside ------------------------------------------------------------------------------

    def _realm(self, node: Node, source: Place) -> str:
        return self.further.get((node.name, source[0]), self.realm[node.name])

    def _send(self, node: Node, effect: SendDatagram) -> None:
        self.sent.append((node.name, effect.data[2] & 0x7F))
        for delay in self.filter(node.name, effect.data):
            self._later(delay, lambda: self._leave(node, effect))

    def _send_stun(self, node: Node, effect: SendStun) -> None:
        for delay in self.filter(node.name, effect.data):
            self._later(delay, lambda: self._leave(node, effect))

    def _leave(self, sender: Node, effect: SendDatagram | SendStun) -> None:
        path = effect.path
        assert path.transport is Transport.UDP
        source = (path.local or sender.address, path.local_port)
        target = (path.remote, path.remote_port)
        content: bytes | Stun = effect.data
        if isinstance(effect, SendStun):
            content = Stun(effect.data)
            self.stun.append((sender.name, source, target, effect.data))
        else:
            self.travelled.append((sender.name, source, target, effect.data))
        self._travel(self._realm(sender, source), source, target, content)

    def _travel(
        self, realm: str, source: Place, target: Place, content: bytes | Esp | Stun
    ) -> None:
        for _ in range(16):
            node = self.hosts.get((realm, target[0]))
            if node is not None:
                self._hand_over(node, source, target, content)
                return
            inbound = next(
                (n for n in self.nats.values() if n.outer == realm and n.outside == target[0]),
                None,
            )
            if inbound is not None:
                inner = inbound.inbound(source, target[1])
                if inner is None:
                    return
                realm, target = inbound.inner, inner
                continue
            gateway = self.nats.get(realm)
            if gateway is None:
                return
            source = gateway.outbound(source, target)
            realm = gateway.outer
        raise AssertionError("a packet goes round in circles")

    def _hand_over(
        self, node: Node, source: Place, target: Place, content: bytes | Esp | Stun
    ) -> None:
        relaying = self.relaying[node.name]
        if target[1] != HIP_UDP_PORT and target[1] not in relaying.open:
            return
        if isinstance(content, bytes):
            path = Path(target[0], source[0], Transport.UDP, target[1], source[1])
            self.perform(node, node.machine.datagram_received(content, path, self.now))
        elif isinstance(content, Stun):
            if target[1] == HIP_UDP_PORT:
                path = Path(target[0], source[0], Transport.UDP, target[1], source[1])
                self.perform(node, node.machine.stun_received(content.data, path, self.now))
        elif (Direction.INBOUND, content.spi) in node.sas and target[1] == HIP_UDP_PORT:
            self.arrived.append((node.name, content.text))
            self.perform(node, node.machine.data_received(content.spi, self.now))
        else:
            self._relay(node, source, target, content)

    def _relay(self, node: Node, source: Place, target: Place, content: Esp) -> None:
        relaying = self.relaying[node.name]
        for permit in reversed(relaying.permits):
            client = (permit.client.remote, permit.client.remote_port)
            peer = (permit.peer, permit.peer_port)
            realm = self.realm[node.name]
            if (target[1], source, content.spi) == (permit.port, peer, permit.inbound_spi):
                relaying.forwarded += 1
                self._travel(realm, (node.address, HIP_UDP_PORT), client, content)
                return
            if (target[1], source, content.spi) == (HIP_UDP_PORT, client, permit.outbound_spi):
                relaying.forwarded += 1
                self._travel(realm, (node.address, permit.port), peer, content)
                return
        relaying.refused += 1


def permit_of(effect: RevokePeer) -> PermitPeer:
    return PermitPeer(*(getattr(effect, name) for name in RevokePeer.__slots__))
