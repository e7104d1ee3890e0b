"""The sockets that carry HIP and ESP."""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from weakref import WeakKeyDictionary

from hipgw.errors import PlatformError
from hipgw.protocol.path import Path, Transport
from hipgw.wire.icmp import TooBig, parse_v4, parse_v6

HIP_PROTOCOL = 139
ESP_PROTOCOL = 50

BUFFER_OCTETS = 8 * 1024 * 1024
"""Of each socket, both ways: a burst of 64 KiB trains must not be lost while a thread is away."""
DATA_BUFFER_OCTETS = 16 * 1024 * 1024
"""What the data plane asks for in the end, where it may."""
CONTROL_BUFFER_OCTETS = 512 * 1024
LARGEST_PACKET = 65535
ICMP_OCTETS = 2048
"""More than any ICMP error has."""
NEVER_CUT_OCTETS = 548
"""What fits an IP packet of 576 octets, which every path carries in one piece or as good as."""

UDP_MARKER = bytes(4)
"""In front of HIP inside UDP, where ESP has its SPI (RFC 9028 §5.1)."""

_IP_PKTINFO = 8
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_DONT = 0
_PMTUDISC_PROBE = 3

_USUAL_DISCOVERY: WeakKeyDictionary[socket.socket, int] = WeakKeyDictionary()
"""Of the sockets that were opened here, whether what they send is cut where it does not fit."""
_IPV6_RECVPKTINFO = getattr(socket, "IPV6_RECVPKTINFO", 49)
_IPV6_PKTINFO = getattr(socket, "IPV6_PKTINFO", 50)
_SOL_RAW = 255
_UDP_ENCAP = 100
_UDP_ENCAP_ESPINUDP = 2
_ICMP_FILTER = 1
_ICMPV6_FILTER = 1
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IN_PKTINFO = struct.Struct("@I4s4s")
_IN6_PKTINFO = struct.Struct("@16sI")


def open_udp(
    version: int, port: int, *, dont_fragment: bool = False, key: str = "hip.port"
) -> socket.socket:
    """A UDP socket on a port of every own address, IPv4 (4) or IPv6 only (6).

    It tells which own address each packet came to. With *dont_fragment* nobody cuts what is sent
    by it, also not this host, whatever it was told of the path; what `send_hip` sends may be cut
    all the same. *key* of the configuration chooses the port. Raises PlatformError.
    """
    sock = _socket(version, socket.SOCK_DGRAM, 0)
    try:
        _tune(sock, version, BUFFER_OCTETS, dont_fragment=dont_fragment)
        sock.bind(("0.0.0.0" if version == 4 else "::", port))  # noqa: S104 - that is its purpose
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PlatformError(
                f"UDP port {port} is in use by another program.",
                hint="Is another hipgw running? `ss -ulpn` shows who has it;"
                f" `{key}` chooses another.",
            ) from None
        raise PlatformError(f"UDP port {port} cannot be opened: {error.strerror}.") from error
    return sock


def open_raw(version: int, protocol: int, *, dont_fragment: bool = False) -> socket.socket:
    """A raw socket for an IP protocol (139 for HIP, 50 for ESP); see `open_udp`.

    Raises PlatformError.
    """
    sock = _socket(version, socket.SOCK_RAW, protocol)
    try:
        size = BUFFER_OCTETS if protocol == ESP_PROTOCOL else CONTROL_BUFFER_OCTETS
        _tune(sock, version, size, dont_fragment=dont_fragment)
    except OSError as error:
        sock.close()
        raise PlatformError(f"IP protocol {protocol}: {error.strerror}.") from error
    return sock


def open_icmp(version: int) -> socket.socket:
    """A raw socket that gets the ICMP errors which tell of packets that are too large.

    Raises PlatformError.
    """
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    sock = _socket(version, socket.SOCK_RAW, protocol)
    try:
        if version == 4:
            # A set bit keeps a type out: all but "destination unreachable" (3).
            sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("@I", ~(1 << 3) & 0xFFFFFFFF))
        else:
            # All but Packet Too Big (2).
            words = (0xFFFFFFFF & ~(1 << 2), *(0xFFFFFFFF,) * 7)
            sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, struct.pack("@8I", *words))
    except OSError as error:
        sock.close()
        raise PlatformError(f"ICMP over IPv{version}: {error.strerror}.") from error
    return sock


def receive_too_big(sock: socket.socket) -> TooBig | None:
    """Take one message from a socket of `open_icmp`; None for one that tells nothing.

    Raises BlockingIOError when none waits, OSError as the kernel answers.
    """
    data = sock.recv(ICMP_OCTETS)
    if sock.family == socket.AF_INET6:
        return parse_v6(data)
    # IPv4 raw sockets deliver the IP header as well.
    return parse_v4(data[(data[0] & 0x0F) * 4 :]) if data else None


def reachable_buffers() -> tuple[int, int]:
    """Octets that a socket's receive and send buffers get of what is asked for, in this order.

    The kernel counts its own bookkeeping as well, so it gives twice of what it grants. Raises
    PlatformError.
    """
    with _socket(4, socket.SOCK_DGRAM, 0) as sock:
        _enlarge(sock, DATA_BUFFER_OCTETS)
        receive = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        send = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    return receive // 2, send // 2


def ipv6_there() -> bool:
    """Whether this kernel has IPv6."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC).close()
    except OSError:
        return False
    return True


def send_hip(
    sock: socket.socket,
    data: bytes,
    path: Path,
    *,
    dont_fragment: bool = False,
    interface: int = 0,
) -> None:
    """Send one HIP packet along a path, from its own address if it names one.

    With the index of an *interface* it leaves by that one, whatever the routing table prefers.
    With *dont_fragment* it is lost where it does not fit; else it is cut, as a HIP packet has to
    come through even where nothing is known of the path. Raises OSError as the kernel answers.
    """
    payload = UDP_MARKER + data if path.transport is Transport.UDP else data
    send_along(sock, payload, path, dont_fragment=dont_fragment, interface=interface)


def send_along(
    sock: socket.socket,
    payload: bytes,
    path: Path,
    *,
    dont_fragment: bool = False,
    interface: int = 0,
) -> None:
    """Send a payload as it is; see `send_hip`."""
    udp = path.transport is Transport.UDP
    ancillary: list[tuple[int, int, bytes]] = []
    match path.local:
        case IPv4Address() as local:
            info = _IN_PKTINFO.pack(interface, local.packed, bytes(4))
            ancillary.append((socket.IPPROTO_IP, _IP_PKTINFO, info))
        case IPv6Address() as local:
            info = _IN6_PKTINFO.pack(local.packed, interface)
            ancillary.append((socket.IPPROTO_IPV6, _IPV6_PKTINFO, info))
        case None:
            pass
    target = (str(path.remote), path.remote_port if udp else 0)
    with _fragmenting(sock, path.remote.version, len(payload), dont_fragment=dont_fragment):
        sock.sendmsg([payload], ancillary, 0, target)


def receive_hip(sock: socket.socket) -> tuple[bytes, Path] | None:
    """Take one HIP packet from a raw socket; None for one that is no use.

    Raises BlockingIOError when none waits, OSError as the kernel answers.
    """
    data, ancillary, flags, sender = sock.recvmsg(LARGEST_PACKET, socket.CMSG_SPACE(32))
    if flags & socket.MSG_TRUNC:
        return None
    remote_text = str(sender[0]).partition("%")[0]
    local: IPv4Address | IPv6Address | None = None
    remote: IPv4Address | IPv6Address
    if sock.family == socket.AF_INET:
        # IPv4 raw sockets deliver the IP header as well, IPv6 ones do not.
        if len(data) < 20:
            return None
        local, remote = IPv4Address(data[16:20]), IPv4Address(remote_text)
        data = data[(data[0] & 0x0F) * 4 :]
    else:
        remote = IPv6Address(remote_text)
        for level, kind, value in ancillary:
            if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
                local = IPv6Address(_IN6_PKTINFO.unpack(value[: _IN6_PKTINFO.size])[0])
    if local is None:
        return None
    return data, Path(local, remote, Transport.RAW)


def receive_udp(
    sock: socket.socket,
) -> tuple[bytes, IPv4Address | IPv6Address, IPv4Address | IPv6Address, int, int] | None:
    """Take one HIP packet from a UDP socket, without its marker; None for what is none.

    Returns it, the own address it came to and the one it came from, and their ports. Raises
    BlockingIOError when none waits, OSError as the kernel answers.
    """
    data, ancillary, flags, sender = sock.recvmsg(LARGEST_PACKET, socket.CMSG_SPACE(32))
    if flags & socket.MSG_TRUNC or not data.startswith(UDP_MARKER):
        return None
    local: IPv4Address | IPv6Address | None = None
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            # The third field is the destination of the packet, the second one's own choice.
            local = IPv4Address(value[8:12])
        elif (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            local = IPv6Address(_IN6_PKTINFO.unpack(value[: _IN6_PKTINFO.size])[0])
    if local is None:
        return None
    remote = ip_address(str(sender[0]).partition("%")[0])
    port = int(sock.getsockname()[1])
    return data[len(UDP_MARKER) :], local, remote, port, int(sender[1])


def take_esp_out(sock: socket.socket) -> None:
    """Let the kernel's own ESP have the ESP that comes to a UDP socket (RFC 3948).

    HIP packets, with their zero marker, still come to the socket (RFC 9028 §5.1). Raises OSError.
    """
    sock.setsockopt(socket.IPPROTO_UDP, _UDP_ENCAP, _UDP_ENCAP_ESPINUDP)


def open_ip_sender(local: IPv6Address) -> socket.socket:
    """A raw socket by which whole IPv6 packets from an own address are sent. Raises OSError."""
    sock = _socket(6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    try:
        sock.bind((str(local), 0))
    except OSError:
        sock.close()
        raise
    return sock


def _socket(version: int, kind: int, protocol: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        return socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    except PermissionError:
        raise PlatformError(
            f"A raw socket for IP protocol {protocol} may not be opened.",
            hint="CAP_NET_RAW is needed: run as root.",
        ) from None
    except OSError as error:
        raise PlatformError(f"An IPv{version} socket: {error.strerror}.") from error


@contextlib.contextmanager
def _fragmenting(
    sock: socket.socket, version: int, octets: int, *, dont_fragment: bool
) -> Iterator[None]:
    """Have what is sent in this block cut where it is needed, or not.

    The data plane may send by the same socket meanwhile. Its packets are then treated likewise,
    which harms none: they fit the path, as far as is known.
    """
    level, option = (
        (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
        if version == 4
        else (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER)
    )
    # Not what it is at this moment, as the data plane has its larger frames cut as well.
    usual = _USUAL_DISCOVERY.get(sock)
    if usual is None:
        usual = sock.getsockopt(level, option)
    wanted = _PMTUDISC_PROBE if dont_fragment else _PMTUDISC_DONT
    if usual == wanted or (not dont_fragment and octets <= NEVER_CUT_OCTETS):
        yield
        return
    sock.setsockopt(level, option, wanted)
    try:
        yield
    finally:
        sock.setsockopt(level, option, usual)


def _tune(sock: socket.socket, version: int, size: int, *, dont_fragment: bool) -> None:
    """Big buffers, own addresses told, fragments or none."""
    discovery = _PMTUDISC_PROBE if dont_fragment else _PMTUDISC_DONT
    _enlarge(sock, size)
    _USUAL_DISCOVERY[sock] = discovery
    if version == 4:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, discovery)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, discovery)
        if sock.type == socket.SOCK_DGRAM:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def _enlarge(sock: socket.socket, size: int) -> None:
    """Big buffers, as far as they may be."""
    for force, plain in (
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, size)
        except PermissionError:
            # Without CAP_NET_ADMIN the system's limit holds.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, plain, size)
