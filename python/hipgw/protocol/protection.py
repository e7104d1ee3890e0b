"""MACs and signatures: put on packets, and checked on them (RFC 7401 §6.4)."""

from collections.abc import Sequence
from ipaddress import IPv6Address

from hipgw.identity.host_identity import HostIdentity, LocalIdentity
from hipgw.identity.rhash import Rhash
from hipgw.wire.coverage import mac2_coverage, mac_coverage, signature_coverage
from hipgw.wire.packet import HipPacket, PacketType
from hipgw.wire.parameters import HipMac, HipMac2, HipSignature, Parameter


def protect(
    packet_type: PacketType,
    local: LocalIdentity,
    peer_hit: IPv6Address,
    parameters: Sequence[Parameter],
    *,
    rhash: Rhash,
    key: bytes,
    host_id_tlv: bytes = b"",
) -> bytes:
    """Emit a packet with HIP_MAC (HIP_MAC_2 if *host_id_tlv* is given) and HIP_SIGNATURE.

    The checksum field is zero. *key* is the sender's integrity key.
    """
    bare = HipPacket(packet_type, local.hit, peer_hit, tuple(parameters)).emit()
    mac: Parameter
    if host_id_tlv:
        mac = HipMac2(rhash.mac(key, mac2_coverage(bare, host_id_tlv)))
    else:
        mac = HipMac(rhash.mac(key, mac_coverage(bare)))
    return sign(packet_type, local, peer_hit, (*parameters, mac))


def sign(
    packet_type: PacketType,
    local: LocalIdentity,
    peer_hit: IPv6Address,
    parameters: Sequence[Parameter],
) -> bytes:
    """Emit a packet with HIP_SIGNATURE; the checksum field is zero."""
    bare = HipPacket(packet_type, local.hit, peer_hit, tuple(parameters)).emit()
    signature = HipSignature(local.public.algorithm, local.sign(signature_coverage(bare)))
    return HipPacket(packet_type, local.hit, peer_hit, (*parameters, signature)).emit()


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


def signature_holds(packet: HipPacket, sender: HostIdentity) -> bool:
    """Whether HIP_SIGNATURE is there and the sender's."""
    signature = packet.get(HipSignature)
    return (
        signature is not None
        and signature.algorithm == sender.algorithm
        and sender.verify(signature_coverage(packet.raw), signature.signature)
    )
