"""Effects of the HIP machine as events of the control socket."""

import time
from ipaddress import IPv6Address

from hipgw.control.api import EventAnswer, PathAnswer
from hipgw.naming.peers import PeerDirectory
from hipgw.protocol.effects import (
    Closed,
    Effect,
    Established,
    Failed,
    PacketTrace,
    PathChanged,
    PingReply,
    RegistrationChanged,
    Rekeyed,
    StateChanged,
)
from hipgw.protocol.path import Path
from hipgw.protocol.registration import service_name


def path_answer(path: Path) -> PathAnswer:
    """A path as the control API shows it."""
    answer: PathAnswer = {
        "local": None if path.local is None else str(path.local),
        "remote": str(path.remote),
        "transport": path.transport.value,
        "local_port": path.local_port,
        "remote_port": path.remote_port,
    }
    if path.relay_to is not None:
        address, port = path.relay_to
        host = f"[{address}]" if address.version == 6 else str(address)
        answer["relay_to"] = f"{host}:{port}"
    return answer


def event_answer(event: Effect, directory: PeerDirectory) -> EventAnswer | None:
    """An event as subscribers get it; None for an effect that is no news."""

    def about(hit: IPv6Address | None) -> tuple[str | None, str | None]:
        peer = directory.by_hit(hit) if hit is not None else None
        return (peer.name if peer else None), (None if hit is None else str(hit))

    answer: EventAnswer
    match event:
        case StateChanged(local_hit=local, peer_hit=hit, old=old, new=new, reason=reason):
            answer = {"kind": "state", "time": time.time(), "reason": reason}
            answer["local_hit"] = str(local)
            answer["old"], answer["new"] = old.value, new.value
        case Established(peer_hit=hit, path=path, initiator=initiator, duration=duration):
            answer = {"kind": "established", "time": time.time(), "path": path_answer(path)}
            answer["initiator"], answer["duration_s"] = initiator, duration
        case Closed(peer_hit=hit, reason=reason):
            answer = {"kind": "closed", "time": time.time(), "reason": reason}
        case Failed(peer_hit=hit, reason=reason):
            answer = {"kind": "failed", "time": time.time(), "reason": reason}
        case RegistrationChanged(peer_hit=hit, reason=reason):
            answer = {"kind": "registration", "time": time.time(), "reason": reason}
            answer["service"] = service_name(event.reg_type)
            answer["role"] = "registrar" if event.registrar else "client"
            answer["lifetime_s"] = event.lifetime_s
        case PingReply(peer_hit=hit, rtt=rtt, path=path):
            answer = {"kind": "rtt", "time": time.time(), "rtt_s": rtt, "path": path_answer(path)}
        case PathChanged(peer_hit=hit, old=before, new=path, reason=reason):
            answer = {"kind": "path", "time": time.time(), "reason": reason}
            answer["path"], answer["old_path"] = path_answer(path), path_answer(before)
        case Rekeyed(peer_hit=hit, inbound_spi=inbound, outbound_spi=outbound):
            answer = {"kind": "rekeyed", "time": time.time()}
            answer["inbound_spi"], answer["outbound_spi"] = inbound, outbound
        case PacketTrace(peer_hit=hit, packet=packet, path=path, size=size, dropped=dropped):
            answer = {"kind": "packet", "time": time.time(), "packet": packet, "size": size}
            answer["direction"] = "in" if event.direction.value == "in" else "out"
            answer["path"], answer["dropped"] = path_answer(path), dropped
        case _:
            return None
    answer["peer"], answer["peer_hit"] = about(hit)
    return answer
