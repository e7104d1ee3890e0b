"""MACs and signatures: put on packets, and checked on them (RFC 7401 §6.4)."""

from collections.abc import Sequence
from ipaddress import IPv6Address

from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.identity.rhash import Rhash
from hipgw.protocol.versions.registry import VERSIONS
from hipgw.wire.coverage import mac2_coverage, mac_coverage, signature_coverage
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import HipMac, HipMac2, HipSignature, HipSignature2, Parameter


def protect(
    packet_type: PacketType,
    local: LocalIdentity,
    peer_hit: IPv6Address,
    parameters: Sequence[Parameter],
    *,
    rhash: Rhash,
    key: bytes,
    host_id_tlv: bytes = b"",
    signature_2: bool = False,
    keep_order: bool = False,
) -> bytes:
    """Emit a packet with HIP_MAC (HIP_MAC_2 if *host_id_tlv* is given) and HIP_SIGNATURE.

    The checksum field is zero. *key* is the sender's integrity key. *signature_2*: it is
    HIP_SIGNATURE_2 instead, which covers the same here. *keep_order*: the parameters stay as
    they are given instead of ascending. Both are for peers that are known to want it.
    """
    bare = _packet(packet_type, local, peer_hit, parameters).emit(keep_order=keep_order)
    mac: Parameter
    if host_id_tlv:
        mac = HipMac2(rhash.mac(key, mac2_coverage(bare, host_id_tlv)))
    else:
        mac = HipMac(rhash.mac(key, mac_coverage(bare)))
    return sign(
        packet_type,
        local,
        peer_hit,
        (*parameters, mac),
        signature_2=signature_2,
        keep_order=keep_order,
    )


def sign(
    packet_type: PacketType,
    local: LocalIdentity,
    peer_hit: IPv6Address,
    parameters: Sequence[Parameter],
    *,
    signature_2: bool = False,
    keep_order: bool = False,
) -> bytes:
    """Emit a packet with HIP_SIGNATURE; the checksum field is zero. Options as in `protect`."""
    version = VERSIONS[local.public.version]
    bare = _packet(packet_type, local, peer_hit, parameters).emit(keep_order=keep_order)
    make = version.signature_2 if signature_2 else version.signature
    signature = make(local.public, local.sign(signature_coverage(bare)))
    packet = _packet(packet_type, local, peer_hit, (*parameters, signature))
    return packet.emit(keep_order=keep_order)


def _packet(
    packet_type: PacketType,
    local: LocalIdentity,
    peer_hit: IPv6Address,
    parameters: Sequence[Parameter],
) -> HipPacket:
    return HipPacket(
        packet_type, local.hit, peer_hit, tuple(parameters), version=local.public.version
    )


def mac_holds(packet: HipPacket, rhash: Rhash, key: bytes) -> bool:
    """Whether HIP_MAC is there and right; *key* is the sender's integrity key."""
    mac = packet.get(HipMac)
    return mac is not None and rhash.verify_mac(key, mac_coverage(packet.raw), mac.mac)


def mac2_holds(packet: HipPacket, rhash: Rhash, key: bytes, host_id_tlv: bytes) -> bool:
    """Whether HIP_MAC_2 is there and right."""
    mac = packet.get(HipMac2)
    return mac is not None and rhash.verify_mac(
        key, mac2_coverage(packet.raw, host_id_tlv), mac.mac
    )


def signature_holds(packet: HipPacket, sender: HostIdentity, *, signature_2: bool = False) -> bool:
    """Whether HIP_SIGNATURE is there and the sender's; *signature_2* as in `protect`."""
    kind = HipSignature2 if signature_2 else HipSignature
    signature = packet.get(kind)
    return (
        signature is not None
        and signature.algorithm == sender.algorithm
        and sender.verify(
            signature_coverage(packet.raw, signature_type=kind.TYPE), signature.signature
        )
    )
