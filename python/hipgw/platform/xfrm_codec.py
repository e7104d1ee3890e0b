"""From values to the messages of NETLINK_XFRM, and back."""

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

from pyroute2.netlink.rtnl.rtmsg import rtmsg

from hipgw.platform import xfrm_messages as m
from hipgw.platform.xfrm_values import (
    Acquired,
    Algorithms,
    Counters,
    Event,
    Expired,
    IPAddress,
    Mapped,
    Policy,
    Sequence,
    State,
)

ESP = 50
_MAPPING_S = 1
_HEADER_OCTETS = 16
_COUNTERS = struct.Struct("=4Q3I")
"""`curlft` and `stats` of xfrm_usersa_info, which lie side by side."""
_COUNTERS_OFFSET = _HEADER_OCTETS + 160
_ID = struct.Struct("=16s4sB")
_ID_OFFSET = _HEADER_OCTETS + 56
_REQID_OFFSET = _HEADER_OCTETS + 208
ATTRIBUTES_OFFSET = _HEADER_OCTETS + 224
_REPLAY_ESN = struct.Struct("=6I")
_XFRMA_REPLAY_ESN_VAL = 23

# -- building --------------------------------------------------------------------------------------


def sa_message(state: State) -> Any:
    """XFRM_MSG_NEWSA for a security association."""
    message = m.xfrm_usersa_info()
    soft_packets = 1 if state.inbound else m.XFRM_INF
    flags = m.XFRM_STATE_ESN
    if state.copy_dscp:
        flags |= m.XFRM_STATE_DECAP_DSCP
    if not state.ecn:
        flags |= m.XFRM_STATE_NOECN
    message.update(
        {
            **selector(state.inner_source, state.inner_destination),
            "id_daddr": packed(state.destination),
            "id_spi": state.spi,
            "id_proto": ESP,
            "saddr": packed(state.source),
            **_lifetime(soft_packets=soft_packets),
            "reqid": state.reqid,
            "family": family_of(state.destination),
            "mode": m.XFRM_MODE_BEET,
            "replay_window": 0,
            "flags": flags,
        }
    )
    message["attrs"] = [*_algorithms(state.algorithms), _replay(state)]
    if state.ports is not None:
        message["attrs"].append(("XFRMA_ENCAP", encapsulation(state.ports)))
        if state.inbound:
            # From Linux 5.18 on; before, each packet from a new source is told.
            message["attrs"].append(("XFRMA_MTIMER_THRESH", _MAPPING_S))
    if not state.copy_dscp:
        message["attrs"].append(("XFRMA_SA_EXTRA_FLAGS", m.XFRM_SA_XFLAG_DONT_ENCAP_DSCP))
    return message


def sa_id(destination: IPAddress, spi: int) -> Any:
    """XFRM_MSG_GETSA or XFRM_MSG_DELSA for a security association."""
    message = m.xfrm_usersa_id()
    message.update(
        {"daddr": packed(destination), "spi": spi, "family": family_of(destination), "proto": ESP}
    )
    return message


def policy_message(policy: Policy) -> Any:
    """XFRM_MSG_UPDPOLICY for a policy."""
    message = m.xfrm_userpolicy_info()
    message.update(
        {
            **selector(policy.source, policy.destination),
            **_lifetime(),
            "priority": policy.priority,
            "dir": policy.direction,
            "action": m.XFRM_POLICY_BLOCK if policy.block else m.XFRM_POLICY_ALLOW,
        }
    )
    if policy.reqid:
        source, destination = policy.outer or (None, None)
        template = {
            "id_daddr": packed(destination),
            "id_spi": policy.spi,
            "id_proto": ESP,
            "family": family_of(destination) if destination is not None else socket.AF_INET6,
            "saddr": packed(source),
            "reqid": policy.reqid,
            "mode": m.XFRM_MODE_BEET,
            # Every algorithm: what the security association has was agreed upon.
            "aalgos": 0xFFFFFFFF,
            "ealgos": 0xFFFFFFFF,
            "calgos": 0xFFFFFFFF,
        }
        message["attrs"] = [("XFRMA_TMPL", template)]
    return message


def packed(address: IPAddress | None) -> bytes:
    """An address as `xfrm_address_t`; None is the unspecified one."""
    return address.packed.ljust(16, b"\0") if address is not None else m.ANY_ADDRESS


def unpacked(octets: bytes, family: int) -> IPAddress:
    """The address in an `xfrm_address_t`."""
    return ip_address(octets[:4] if family == socket.AF_INET else octets)


def selector(
    source: IPAddress | IPv6Network, destination: IPAddress | IPv6Network
) -> dict[str, Any]:
    ends: dict[str, Any] = {}
    for name, end in (("d", destination), ("s", source)):
        if isinstance(end, IPv6Network):
            address, length = packed(end.network_address), end.prefixlen
        else:
            address, length = packed(end), end.max_prefixlen
        ends[f"sel_{name}addr"], ends[f"sel_prefixlen_{name}"] = address, length
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    return {**ends, "sel_family": family}


def _lifetime(*, soft_packets: int = m.XFRM_INF) -> dict[str, int]:
    return {
        "lft_soft_byte_limit": m.XFRM_INF,
        "lft_hard_byte_limit": m.XFRM_INF,
        "lft_soft_packet_limit": soft_packets,
        "lft_hard_packet_limit": m.XFRM_INF,
    }


def _algorithms(algorithms: Algorithms) -> list[tuple[str, dict[str, Any]]]:
    key = {
        "alg_name": algorithms.encryption.encode(),
        "alg_key_len": len(algorithms.encryption_key) * 8,
        "alg_key": algorithms.encryption_key,
    }
    if not algorithms.authentication:
        return [("XFRMA_ALG_AEAD", {**key, "alg_icv_len": algorithms.icv_bits})]
    authentication = {
        "alg_name": algorithms.authentication.encode(),
        "alg_key_len": len(algorithms.authentication_key) * 8,
        "alg_icv_len": algorithms.icv_bits,
        "alg_key": algorithms.authentication_key,
    }
    return [("XFRMA_ALG_CRYPT", key), ("XFRMA_ALG_AUTH_TRUNC", authentication)]


def _replay(state: State) -> tuple[str, dict[str, Any]]:
    # An outbound one needs no window, but the kernel wants one with 64-bit numbers in any case.
    window = min(max(state.replay_window, 32), m.XFRM_REPLAY_WINDOW_MAX)
    words = (window + 31) // 32
    sequence = state.sequence
    value = {
        "bmp_len": words,
        "oseq": sequence.sent & 0xFFFFFFFF,
        "seq": sequence.received & 0xFFFFFFFF,
        "oseq_hi": sequence.sent >> 32,
        "seq_hi": sequence.received >> 32,
        "replay_window": window,
        "bmp": sequence.bitmap or bytes(words * 4),
    }
    return "XFRMA_REPLAY_ESN_VAL", value


def encapsulation(ports: tuple[int, int]) -> dict[str, Any]:
    return {
        "encap_type": m.UDP_ENCAP_ESPINUDP,
        "encap_sport": ports[0],
        "encap_dport": ports[1],
        "encap_oa": m.ANY_ADDRESS,
    }


def route_message(destination: IPv6Address, interface: int) -> Any:
    message = rtmsg()
    message.update(
        {
            "family": socket.AF_INET6,
            "dst_len": 128,
            "table": 254,  # RT_TABLE_MAIN
            "proto": 4,  # RTPROT_STATIC
            "scope": 0,
            "type": 1,  # RTN_UNICAST
        }
    )
    message["attrs"] = [("RTA_DST", str(destination)), ("RTA_OIF", interface)]
    return message


def family_of(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


# -- reading ---------------------------------------------------------------------------------------

_KEYS = {"XFRMA_ALG_AEAD": 72, "XFRMA_ALG_CRYPT": 68, "XFRMA_ALG_AUTH_TRUNC": 72}
"""Attributes with keys, and how many octets stand in front of them."""
_ENCAP_OCTETS = 24


def redacted(answer: bytes) -> bool:
    """Whether the kernel put zeros in the place of a key (lockdown, "confidentiality")."""
    for kind, value in attributes(answer, ATTRIBUTES_OFFSET):
        before_key = _KEYS.get(_name(kind))
        if before_key is not None:
            (bits,) = struct.unpack_from("=I", value, 64)
            if bits and not any(value[before_key:]):
                return True
    return False


def moved_message(
    answer: bytes,
    source: IPAddress,
    destination: IPAddress,
    ports: tuple[int, int] | None,
    skip: int,
) -> Any:
    """XFRM_MSG_NEWSA for what an answer to XFRM_MSG_GETSA tells of, with another path."""
    old = m.xfrm_usersa_info(answer)
    old.decode()
    message = m.xfrm_usersa_copy()
    message.update({name: old[name] for name, kind in message.fields if kind[-1] != "x"})
    message["id_daddr"], message["saddr"] = packed(destination), packed(source)
    message["family"] = family_of(destination)
    carried = {*_KEYS, "XFRMA_SA_EXTRA_FLAGS", "XFRMA_REPLAY_ESN_VAL"}
    if ports is not None:
        carried.add("XFRMA_MTIMER_THRESH")
        encap = struct.pack("=H", m.UDP_ENCAP_ESPINUDP) + struct.pack(">HH", *ports)
        message["attrs"].append(("XFRMA_ENCAP", encap.ljust(_ENCAP_OCTETS, b"\0")))
    for kind, value in attributes(answer, ATTRIBUTES_OFFSET):
        name = _name(kind)
        if name in carried:
            replay = name == "XFRMA_REPLAY_ESN_VAL"
            message["attrs"].append((name, _skipped(value, skip) if replay else value))
    return message


def _skipped(replay: bytes, skip: int) -> bytes:
    """A `xfrm_replay_state_esn` with sequence numbers left out."""
    words, sent, received, sent_high, *others = _REPLAY_ESN.unpack_from(replay)
    number = (sent_high << 32 | sent) + skip
    head = _REPLAY_ESN.pack(words, number & 0xFFFFFFFF, received, number >> 32, *others)
    return head + replay[_REPLAY_ESN.size :]


def _name(kind: int) -> str:
    return m.ATTRIBUTES[kind] if kind < len(m.ATTRIBUTES) else ""


def parse_counters(answer: bytes) -> Counters:
    """What stands in an answer to XFRM_MSG_GETSA; quick, for tables of thousands."""
    octets, packets, _, _, _, replayed, failed = _COUNTERS.unpack_from(answer, _COUNTERS_OFFSET)
    destination, spi, _ = _ID.unpack_from(answer, _ID_OFFSET)
    sequence = Sequence()
    for kind, value in attributes(answer, ATTRIBUTES_OFFSET):
        if kind == _XFRMA_REPLAY_ESN_VAL and len(value) >= _REPLAY_ESN.size:
            _, oseq, seq, oseq_hi, seq_hi, _ = _REPLAY_ESN.unpack_from(value)
            sequence = Sequence(oseq_hi << 32 | oseq, seq_hi << 32 | seq)
    return Counters(
        destination=destination,
        spi=int.from_bytes(spi),
        reqid=struct.unpack_from("=I", answer, _REQID_OFFSET)[0],
        octets=octets,
        packets=packets,
        replayed=replayed,
        auth_failed=failed,
        sequence=sequence,
    )


def parse_event(kind: int, body: bytes) -> Event | None:
    """One message of a multicast group; None for what is of no use."""
    if (form := m.EVENTS.get(kind)) is None:
        return None
    message = form(body)
    message.decode()
    if kind == m.XFRM_MSG_ACQUIRE:
        return Acquired(unpacked(message["sel_daddr"], message["sel_family"]))
    if message.get("id_proto", message.get("proto")) != ESP:
        return None
    if kind == m.XFRM_MSG_EXPIRE:
        return Expired(message["id_spi"], message["reqid"], bool(message["hard"]))
    return Mapped(
        message["spi"],
        message["reqid"],
        unpacked(message["new_saddr"], message["family"]),
        message["new_sport"],
    )


def attributes(data: bytes, offset: int) -> Iterable[tuple[int, bytes]]:
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def concerns(message: Any, local: IPv6Address, others: IPv6Network) -> bool:
    if message["sel_family"] != socket.AF_INET6:
        return False
    ends = {IPv6Address(message["sel_saddr"]), IPv6Address(message["sel_daddr"])}
    return local in ends and all(end in others for end in ends)
