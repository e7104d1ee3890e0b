"""What is added to security associations on their way to the data plane, which only takes notes."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import cast

from hipgw.dataplane.backend import DataPlane
from hipgw.protocol.effects import Direction, InstallSA, MoveSA, PathMtuChanged, RemoveSA
from hipgw.protocol.path import IPAddress, Path
from hipgw.protocol.path_mtu import MtuSource
from hipgw.roles.security_associations import SecurityAssociations

OWN, PEER = IPv6Address("2001:21::1"), IPv6Address("2001:21::2")
WIRED, MOBILE = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.1")
REMOTE = IPv4Address("203.0.113.2")


@dataclass
class Notes:
    """Takes the calls to a data plane."""

    calls: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def add_sa(self, **parameters: object) -> None:
        self.calls.append(("add", parameters))

    def move_sa(self, **parameters: object) -> None:
        self.calls.append(("move", parameters))

    def remove_sa(self, **parameters: object) -> None:
        self.calls.append(("remove", parameters))

    def take(self, *names: str) -> list[tuple[object, ...]]:
        """Of all calls since the last time what they were, and these parameters."""
        calls, self.calls = self.calls, []
        return [(kind, *(parameters[name] for name in names)) for kind, parameters in calls]


@dataclass
class Bench:
    notes: Notes = field(default_factory=Notes)
    pins: dict[IPAddress, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.associations = SecurityAssociations(
            cast(DataPlane, self.notes),
            replay_window=64,
            segment_of=lambda _: 0,
            path_mtu=lambda _: 1500,
            interface_of=lambda address: self.pins.get(address, 0),
        )

    def install(self, spi: int, path: Path, *, verified: bool = True) -> None:
        for direction in Direction:
            self.associations.install(
                InstallSA(direction, OWN, PEER, spi, 13, b"k", b"", path, verified)
            )


def test_packets_are_kept_to_the_interface_of_their_address() -> None:
    bench = Bench(pins={MOBILE: 7})
    bench.install(1, Path(WIRED, REMOTE))
    bench.install(2, Path(MOBILE, REMOTE))
    names = ("spi", "interface")
    assert bench.notes.take(*names)[1::2] == [("add", 1, 0), ("add", 2, 7)]
    bench.associations.move(MoveSA(OWN, PEER, 2, Path(WIRED, REMOTE)))
    bench.associations.move(MoveSA(OWN, PEER, 2, Path(None, REMOTE)))
    bench.associations.move(MoveSA(OWN, PEER, 2, Path(MOBILE, REMOTE)))
    assert bench.notes.take(*names) == [("move", 2, 0), ("move", 2, 0), ("move", 2, 7)]
    # Nothing has changed, then another interface gets the address, then it goes out anyhow.
    bench.associations.pin()
    bench.pins = {MOBILE: 8}
    bench.associations.pin()
    bench.associations.pin()
    bench.pins = {}
    bench.associations.pin()
    assert bench.notes.take(*names) == [("move", 2, 8), ("move", 2, 0)]
    bench.associations.remove(RemoveSA(Direction.OUTBOUND, OWN, PEER, 2))
    bench.pins = {MOBILE: 7}
    bench.associations.pin()
    assert bench.notes.take("spi") == [("remove", 2)]


def test_an_spi_that_a_mobile_router_lends_stays_on_the_wire() -> None:
    bench = Bench(pins={MOBILE: 7})
    path = Path(MOBILE, REMOTE)
    bench.associations.install(
        InstallSA(Direction.OUTBOUND, OWN, PEER, 1, 13, b"k", b"", path, wire_spi=9)
    )
    # What this machine changes by itself leaves it alone.
    bench.pins = {MOBILE: 8}
    bench.associations.pin()
    bench.associations.set_mtu(PathMtuChanged(OWN, PEER, path, 1400, MtuSource.PROBE))
    bench.associations.move(MoveSA(OWN, PEER, 1, path))
    bench.associations.move(MoveSA(OWN, PEER, 1, path, wire_spi=10))
    calls = bench.notes.take("spi", "wire_spi")
    assert calls == [("add", 1, 9), ("move", 1, 9), ("move", 1, 9), ("move", 1, 0), ("move", 1, 10)]


def test_what_is_not_verified_stays_so_until_the_machine_says_otherwise() -> None:
    bench = Bench()
    path = Path(WIRED, REMOTE)
    names = ("verified", "path_mtu", "interface")
    bench.install(1, path)
    bench.associations.move(MoveSA(OWN, PEER, 1, path, verified=False))
    bench.notes.take()
    # Neither a new size of packets nor another interface verifies anything.
    bench.associations.set_mtu(PathMtuChanged(OWN, PEER, path, 1400, MtuSource.PROBE))
    bench.pins = {WIRED: 3}
    bench.associations.pin()
    assert bench.notes.take(*names) == [("move", False, 1400, 0), ("move", False, 1400, 3)]
    bench.install(2, path, verified=False)
    assert bench.notes.take("verified") == [("add", False), ("add", False)]
    bench.associations.move(MoveSA(OWN, PEER, 2, path, verified=True))
    assert bench.notes.take(*names) == [("move", True, 1400, 3)]
