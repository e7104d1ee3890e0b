"""The data plane of a mobile router: takes what passes it, and sends it on rewritten.

The ways that ESP takes are kept by `hipgw.dataplane.spinat_ways`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Literal

from hipgw import _esp_core
from hipgw.dataplane.spinat_ways import Counts, Flow, Target
from hipgw.protocol.mobile_router.transit import Place, Transit
from hipgw.protocol.path import IPAddress, Transport


@dataclass(frozen=True, slots=True)
class TransitReceived:
    """A HIP packet that is for another host came in; the zero marker of UDP is removed."""

    data: bytes
    transit: Transit
    inside: bool
    """Whether it came from there."""
    interface: int
    """Index of the one that it came by."""


class SpinatDataPlane:
    """See `_esp_core.SpinatPath` for what each method does. All of them raise DataPlaneError."""

    def __init__(self, *, queue: int, ways: int, ebpf: bool, udp_port: int) -> None:
        """Opens everything; to be called before privileges are dropped.

        *queue*: number of the NFQUEUE; *ways*: most of them; *ebpf*: whether the kernel is to
        rewrite by itself what it can; *udp_port*: the own one.
        """
        self._path = _esp_core.SpinatPath(queue=queue, capacity=ways, ebpf=ebpf, udp_port=udp_port)

    @property
    def without_ebpf(self) -> str | None:
        """Why the kernel does not rewrite by itself what it could; None if it does."""
        return self._path.ebpf

    def start(self) -> None:
        self._path.start()

    def stop(self) -> None:
        self._path.stop()

    def fileno(self) -> int:
        """Readable while events wait."""
        return self._path.fileno()

    def events(self) -> list[TransitReceived]:
        """What came in, oldest first."""
        return [_received(event) for event in self._path.events()]

    def own(self, hits: Iterable[IPv6Address], addresses: Iterable[IPAddress]) -> None:
        """The HITs and addresses of this host: packets for them are not for clients."""
        self._path.own([hit.packed for hit in hits], [address.packed for address in addresses])

    def outside(self, interfaces: Sequence[int]) -> None:
        """Indexes of the interfaces that lead outside from now on."""
        self._path.outside(list(interfaces))

    def send(self, data: bytes, transit: Transit) -> None:
        """Send a HIP packet from one place to another; neither need be an own one."""
        source, destination = transit.source, transit.destination
        self._path.send_hip(
            data,
            source.address.packed,
            port_of(source),
            destination.address.packed,
            port_of(destination),
        )

    def insert(self, flow: Flow, target: Target) -> int:
        return self._path.insert(
            spi=flow.spi,
            correspondent=flow.correspondent,
            client=flow.client,
            source=target.source,
            destination=target.destination,
            source_port=target.source_port,
            destination_port=target.destination_port,
            new_spi=target.spi,
            ifindex=target.interface,
        )

    def aim(self, way: int, target: Target) -> bool:
        return self._path.aim(
            way,
            source=target.source,
            destination=target.destination,
            source_port=target.source_port,
            destination_port=target.destination_port,
            new_spi=target.spi,
            ifindex=target.interface,
        )

    def remove(self, way: int) -> Counts | None:
        return _counts(self._path.remove(way))

    def counts(self, way: int) -> Counts | None:
        return _counts(self._path.counts(way))

    def used(self, since_s: float) -> list[int]:
        return self._path.used(since_s)

    def statistics(self) -> dict[str, int]:
        """Packets that passed or did not, by what became of them."""
        return self._path.statistics()


def port_of(place: Place) -> int:
    """The UDP port of a place; 0 without UDP."""
    return place.port if place.transport is Transport.UDP else 0


def _received(
    event: tuple[Literal["hip"], bytes, bytes, int, bytes, int, bool, int],
) -> TransitReceived:
    _, data, source, source_port, destination, destination_port, inside, interface = event
    transit = Transit(_place(source, source_port), _place(destination, destination_port))
    return TransitReceived(data, transit, inside, interface)


def _place(address: bytes, port: int) -> Place:
    if not port:
        return Place(ip_address(address), Transport.RAW)
    return Place(ip_address(address), Transport.UDP, port)


def _counts(found: tuple[int, int, float] | None) -> Counts | None:
    return None if found is None else Counts(*found[:2])
