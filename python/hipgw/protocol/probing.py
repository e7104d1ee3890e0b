"""Probes of a path's MTU: padded echo requests (RFC 8899 §6.2), and what routers say about it."""

from collections.abc import Iterable

from hipgw.protocol.association import PINGS_OUTSTANDING, Association, Ping, Session
from hipgw.protocol.core import UP, Core
from hipgw.protocol.effects import PathMtuChanged
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.path_mtu import BASE, FLOOR_V4, FLOOR_V6, SMALL, PathMtuSearch
from hipgw.protocol.protection import protect
from hipgw.wire.icmp import TooBig
from hipgw.wire.packet import MAX_LENGTH, PacketType
from hipgw.wire.parameters import EchoRequestSigned, Padding, Parameter, Seq

NONCE_OCTETS = 16

_ESP, _UDP, _HIP = 50, 17, 139
_UDP_HEADER = 8
_UDP_MARKER = bytes(4)
_TLV_HEADER = 4
_UNIT = 8


def begin(core: Core, association: Association, route_mtu: int, now: float) -> None:
    """Begin to find out what the current path carries; *route_mtu* is the most that it may be."""
    path = association.path
    session = association.session
    if association.state not in UP or session is None or path is None or not session.compat.probes:
        return
    if path.relay_to is not None:
        # A relay adds to packets and cuts tails off: probes would not show what data meets.
        return
    _forget_probes(association)
    overhead = _overhead(path)
    association.path_mtu = search = PathMtuSearch(
        route_mtu,
        floor=FLOOR_V4 if path.remote.version == 4 else FLOOR_V6,
        largest_probe=overhead + MAX_LENGTH,
        # Without a tail: should a peer take none, this size at least is answered.
        base=BASE - (BASE - overhead) % _UNIT,
    )
    _send_all(core, association, search.begin(now), now)


def stop(association: Association) -> None:
    """The path is another one: what is known of its MTU is void until `begin`."""
    _forget_probes(association)
    association.path_mtu = None


def answered(core: Core, association: Association, size: int, now: float) -> None:
    """The peer has answered a probe."""
    if (search := association.path_mtu) is not None:
        before = search.mtu, search.source
        _proceed(core, association, search, before, search.answered(size, now), now)


def timer_expired(core: Core, association: Association, now: float) -> None:
    """Do what is due."""
    search = association.path_mtu
    if search is not None and search.when is not None and search.when <= now:
        before = search.mtu, search.source
        _proceed(core, association, search, before, search.timer_expired(now), now)


def data_flows(core: Core, association: Association, now: float, *, one_way: bool) -> None:
    """Data went out or came in lately; *one_way*: nothing came in while some went out."""
    if (search := association.path_mtu) is None:
        return
    search.used(now)
    _send_all(core, association, search.doubt(now) if one_way else [], now)


def too_big(core: Core, message: TooBig, now: float) -> None:
    """Believe an ICMP message, if it quotes what nobody off the path can know.

    That is the SPI of an outbound security association or the nonce of a probe. An ICMPv4 message
    may be too short for either (RFC 792): then it is a reason to look, no more.
    """
    if not core.too_big_limit.allow("all", now):
        return
    for association in list(core.associations.values()):
        path, session, search = association.path, association.session, association.path_mtu
        if path is None or session is None or search is None or association.state not in UP:
            continue
        if message.destination != path.remote or path.local not in (None, message.source):
            continue
        known = _is_ours(association, session, path, message)
        if known is None or not core.peer_too_big_limit.allow(association.peer_hit, now):
            continue
        before = search.mtu, search.source
        sizes = search.too_big(message.mtu, now) if known else search.doubt(now)
        _proceed(core, association, search, before, sizes, now)


def _is_ours(
    association: Association, session: Session, path: Path, message: TooBig
) -> bool | None:
    """Whether a quoted packet is one of this association's: None if not, False if it may be."""
    payload = message.payload
    if path.transport is Transport.UDP:
        if message.protocol != _UDP or len(payload) < _UDP_HEADER:
            return None
        ports = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
        if ports != (path.local_port, path.remote_port):
            return None
        payload = payload[_UDP_HEADER:]
        control = payload.startswith(_UDP_MARKER)
        if len(payload) < 4:
            return False
    else:
        if message.protocol not in (_ESP, _HIP):
            return None
        control = message.protocol == _HIP
    if control:
        probes = (ping.nonce for ping in association.pings.values() if ping.probe is not None)
        known = any(nonce in payload for nonce in probes)
    else:
        known = len(payload) >= 4 and payload[:4] == session.outbound_spi.to_bytes(4, "big")
    if not known:
        return None
    # Routers that are older than RFC 1191 do not say how much would fit.
    return message.mtu > 0


def _proceed(
    core: Core,
    association: Association,
    search: PathMtuSearch,
    before: tuple[int, object],
    sizes: Iterable[int],
    now: float,
) -> None:
    path = association.path
    if path is not None and before != (search.mtu, search.source):
        core.effects.append(
            PathMtuChanged(
                association.local_hit, association.peer_hit, path, search.mtu, search.source
            )
        )
    _send_all(core, association, sizes, now)


def _send_all(core: Core, association: Association, sizes: Iterable[int], now: float) -> None:
    session, path = association.session, association.path
    if session is None or path is None:
        return
    for size in sizes:
        _send(core, association, session, path, size, now)
    core.arm(association)


def _send(
    core: Core, association: Association, session: Session, path: Path, size: int, now: float
) -> None:
    """Send a probe that makes an IP packet of *size* octets, or as small a one as can be."""
    if len(association.pings) >= PINGS_OUTSTANDING:
        del association.pings[next(iter(association.pings))]
    update_id = session.take_update_id()
    nonce = core.random(NONCE_OCTETS)
    association.pings[update_id] = Ping(core.request_number(), nonce, now, probe=size)
    parameters: list[Parameter] = [Seq(update_id), EchoRequestSigned(nonce)]

    def emit() -> bytes:
        return protect(
            PacketType.UPDATE,
            association.local,
            association.peer_hit,
            parameters,
            rhash=session.rhash,
            key=session.hip_keys.outgoing_integrity,
        )

    tail = b""
    if size == SMALL:
        packet = emit()
    else:
        if not session.probe_octets:
            session.probe_octets = len(emit())
        missing = max(0, size - _overhead(path) - session.probe_octets)
        # HIP packets are whole multiples of eight octets; what is behind one is ignored.
        tail = _tail(missing % _UNIT)
        if missing - len(tail) >= _UNIT:
            parameters.append(Padding(bytes(missing - len(tail) - _TLV_HEADER)))
        packet = emit()
    core.send(packet, path, association.peer_hit, tail=tail, dont_fragment=True)


def _tail(octets: int) -> bytes:
    """Octets behind a HIP packet: this many, or 8 more.

    Their sum makes up for their number, so that the checksum also holds for those who take them
    and their length for part of the packet, as Wireshark does. A single octet cannot do that.
    """
    if octets == 0:
        return b""
    if octets == 1:
        octets += _UNIT
    return (0xFFFF - octets).to_bytes(2, "big") + bytes(octets - 2)


def _overhead(path: Path) -> int:
    """Octets of an IP packet in front of the HIP packet in it."""
    ip = 20 if path.remote.version == 4 else 40
    return ip + (_UDP_HEADER + len(_UDP_MARKER) if path.transport is Transport.UDP else 0)


def _forget_probes(association: Association) -> None:
    for update_id in [key for key, ping in association.pings.items() if ping.probe is not None]:
        del association.pings[update_id]
