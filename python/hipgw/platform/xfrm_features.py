"""What the kernel's own ESP offers, found by trying it in a network namespace that nobody sees."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hipgw.errors import PlatformError
from hipgw.platform import sockets
from hipgw.platform.netns import leave_network
from hipgw.platform.threads import in_thread
from hipgw.platform.xfrm import Xfrm
from hipgw.platform.xfrm_codec import sa_message
from hipgw.platform.xfrm_messages import XFRM_MODE_BEET
from hipgw.platform.xfrm_values import Algorithms, IPAddress, State

_TRANSPORT_MODE = 0
_SPI = 0x1000
_INNER = (IPv6Address("2001:21::1"), IPv6Address("2001:21::2"))
_OUTER: dict[int, tuple[IPAddress, IPAddress]] = {
    4: (IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")),
    6: (IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")),
}


@dataclass(frozen=True, slots=True)
class XfrmFeatures:
    """What works; keys of `esp`, `beet` and `udp` are IP versions."""

    esp: Mapping[int, bool]
    """ESP at all."""
    beet: Mapping[int, bool]
    """BEET mode with IPv6 inside."""
    udp: Mapping[int, bool]
    """ESP in UDP (RFC 3948)."""
    algorithms: Mapping[str, bool]
    """By the names that were asked for."""


def features(algorithms: Mapping[str, Algorithms]) -> XfrmFeatures:
    """Try ESP, its modes and *algorithms* (with any keys of the right lengths).

    The kernel may load modules for it. Raises PlatformError if it has no XFRM, or root is missing.
    """
    return in_thread(_try_all, algorithms)


def _try_all(algorithms: Mapping[str, Algorithms]) -> XfrmFeatures:
    """Leaves the calling thread in a network namespace of its own."""
    leave_network()
    kernel = Xfrm()
    try:
        versions = tuple(_OUTER)
        return XfrmFeatures(
            esp={
                version: any(
                    _takes(kernel, version, one, _TRANSPORT_MODE) for one in algorithms.values()
                )
                for version in versions
            },
            beet={
                version: any(
                    _takes(kernel, version, one, XFRM_MODE_BEET) for one in algorithms.values()
                )
                for version in versions
            },
            udp={version: _takes_udp(version) for version in versions},
            algorithms={
                name: any(_takes(kernel, version, one, XFRM_MODE_BEET) for version in versions)
                for name, one in algorithms.items()
            },
        )
    finally:
        kernel.close()


def _takes(kernel: Xfrm, version: int, algorithms: Algorithms, mode: int) -> bool:
    source, destination = _OUTER[version]
    message = sa_message(State(source, destination, _SPI, *_INNER, 1, algorithms))
    message["mode"] = mode
    if mode == _TRANSPORT_MODE:
        # This mode wants the same family inside and outside, or none.
        message.update(dict.fromkeys(("sel_family", "sel_prefixlen_d", "sel_prefixlen_s"), 0))
    try:
        kernel.add_message(message)
        kernel.remove(destination, _SPI)
    except OSError:
        return False
    return True


def _takes_udp(version: int) -> bool:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            sockets.take_esp_out(probe)
    except (OSError, PlatformError):
        return False
    return True
