"""What is checked of each OpenHIP recording. Every check asserts, and returns how often it could.

OpenHIP deviates from RFC 5201 in known ways. Each is allowed for here by the keyword that hipgw
has for it, and shown to be one: read by the RFC, the packet does not hold.
"""

import base64
import re
import struct
from collections.abc import Callable
from functools import cache
from ipaddress import IPv6Address
from pathlib import Path

from hipgw.identity.ciphers import decrypt_parameters
from hipgw.identity.dh import DhKeyPair, KijZeros, kij_octets
from hipgw.identity.hip_suites import hip_suite
from hipgw.identity.hit import derive_hit_v1
from hipgw.identity.host_identity import HostIdentity
from hipgw.identity.keymat import KeymatV1, draw_esp_keys, draw_hip_keys
from hipgw.identity.public_keys import HiAlgorithm
from hipgw.identity.puzzle import PuzzleBits, verify_puzzle
from hipgw.identity.rhash import MD5, SHA1, LeadingOctets, Rhash
from hipgw.wire import tlv
from hipgw.wire.coverage import (
    mac2_coverage,
    mac_coverage,
    rvs_hmac_coverage,
    signature2_coverage,
    signature_coverage,
)
from hipgw.wire.packet import (
    HEADER_LENGTH,
    NO_NEXT_HEADER,
    HipPacket,
    PacketType,
    parse_parameters,
)
from hipgw.wire.parameters import (
    AuthTicket,
    DiffieHellmanV1,
    EchoRequestSigned,
    EchoResponseSigned,
    Encrypted,
    EspInfo,
    HipMac,
    HipMac2,
    HipSignature,
    HipSignature2,
    HipTransform,
    HostIdV1,
    ProxyTicket,
    PuzzleV1,
    RvsHmac,
    SolutionV1,
    UnknownParameter,
)
from interop.openhip import (
    Exchange,
    Packet,
    PrintedAssociation,
    PrintedKeymat,
    case_of,
    cut_off,
    esp_packets,
    exchanges,
    hip_packets,
    identities,
    ip_packets,
    nodes,
    printed_associations,
)

KEYMAT_LENGTH = 760
"""Octets of KEYMAT that OpenHIP makes: 38 whole hashes in 768 octets."""
GARBAGE_LENGTH = 4
"""Octets in front of its HMAC-MD5, which fill it up to the length of an HMAC-SHA-1."""
_TCP, _UDP, _DNS_PORT = 6, 17, 53
_HIP_RECORD = bytes.fromhex("c00c 0037 0001")
"""Name, type 55 and class of an answer."""

OUT_OF_ORDER = {"mob-v4v6-raw": 3, "multihoming-mh-raw": 1}
"""Packets whose ECHO_REQUEST_UNSIGNED stands before their ECHO_RESPONSE_UNSIGNED."""


# -- the packets ---------------------------------------------------------------------------------


def packets_read(capture: Path) -> int:
    """Parsed, with the right checksum, which is zero in UDP; no parameter is unknown."""
    seen = hip_packets(capture)
    for packet in seen:
        assert packet.hip.version == 1
        assert not packet.hip.all(UnknownParameter)
        assert packet.hip.raw == packet.data
        assert (packet.data[4:6] == bytes(2)) is (packet.ports is not None)
    return len(seen)


def packets_written(capture: Path) -> int:
    """Written again octet for octet, in the order of the parameters as they came."""
    seen = hip_packets(capture)
    for packet in seen:
        written = packet.hip.emit(packet.pseudo, keep_order=True)
        assert _without_checksum(written) == _without_checksum(without_garbage(packet))
        if without_garbage(packet) == packet.data:
            assert written == packet.data
    return len(seen)


def out_of_order(capture: Path) -> int:
    """Parameters that do not ascend, against RFC 5201 §5.2.1."""
    count = 0
    for packet in hip_packets(capture):
        types = [parameter.type for parameter in packet.hip.parameters]
        if types != sorted(types):
            assert types == [*sorted(types[:-2]), 63661, 63425]
            count += 1
    assert count == OUT_OF_ORDER.get(capture.stem, 0)
    return count


def padded_with_garbage(capture: Path) -> int:
    """Octets other than zero in the padding behind the signature of R2, against §5.2.1."""
    dirty = [packet for packet in hip_packets(capture) if without_garbage(packet) != packet.data]
    assert {packet.hip.packet_type for packet in dirty} <= {PacketType.R2}
    return len(dirty)


def without_garbage(packet: Packet) -> bytes:
    """The packet with zeros as the padding of HIP_SIGNATURE."""
    data = bytearray(packet.data)
    for found in tlv.scan(packet.data, HEADER_LENGTH, strict_order=False):
        if found.type == HipSignature.TYPE:
            behind = found.offset + found.length
            data[behind : found.end] = bytes(found.end - behind)
    return bytes(data)


def _without_checksum(packet: bytes) -> bytes:
    return packet[:4] + packet[6:]


def reassembled(capture: Path) -> int:
    """HIP packets that came as IP fragments."""
    return sum(packet.fragments > 1 for packet in hip_packets(capture))


def esp_seen(capture: Path) -> int:
    """ESP packets, whole; what is in them is for the tests of the data plane."""
    return len(esp_packets(capture))


# -- identities ----------------------------------------------------------------------------------


def host_ids(capture: Path) -> int:
    """HOST_IDs in the clear: the sender's HIT is that of the key, the name that of the file."""
    count = 0
    for packet in hip_packets(capture):
        for host_id in packet.hip.all(HostIdV1):
            _check_host_id(capture, host_id, packet.hip.sender_hit)
            count += 1
    return count


def _check_host_id(capture: Path, host_id: HostIdV1, hit: IPv6Address) -> None:
    identity = identity_of(host_id)
    assert identity.hit == hit == derive_hit_v1(host_id.host_identity)
    assert identity == identities(case_of(capture))[hit].public
    assert (host_id.flags, host_id.protocol, host_id.di_type) == (0x0202, 0xFF, 1)
    (node,) = (one for one in nodes(case_of(capture)) if one.hit == hit)
    # A bare name, where RFC 5201 §5.2.8 has one in the binary form of DNS.
    assert host_id.domain_identifier == f"{node.name}-{node.key.split('-')[1]}".encode()
    assert identity.describe() == node.key


def identity_of(host_id: HostIdV1) -> HostIdentity:
    return HostIdentity.from_wire(host_id.algorithm, host_id.host_identity, 1, weak_keys=True)


def signatures(capture: Path) -> int:
    """HIP_SIGNATURE, by the keys in the files of the hosts."""
    return sum(_signature(capture, packet, HipSignature) for packet in hip_packets(capture))


def signatures_2(capture: Path) -> int:
    """HIP_SIGNATURE_2 of R1."""
    return sum(_signature(capture, packet, HipSignature2) for packet in hip_packets(capture))


def unsigned(capture: Path) -> int:
    """Packets without a signature: I1, and what a mobile router sends with an AUTH_TICKET."""
    bare = [
        packet.hip
        for packet in hip_packets(capture)
        if not packet.hip.get(HipSignature) and not packet.hip.get(HipSignature2)
    ]
    assert all(hip.packet_type is PacketType.I1 or hip.get(AuthTicket) for hip in bare)
    return len(bare)


def _signature(
    capture: Path, packet: Packet, kind: type[HipSignature] | type[HipSignature2]
) -> int:
    signature = packet.hip.get(kind)
    if signature is None:
        return 0
    covers = signature_coverage if kind is HipSignature else signature2_coverage
    signer = identities(case_of(capture))[packet.hip.sender_hit]
    covered = covers(packet.data)
    assert signature.algorithm == signer.public.algorithm
    assert signer.public.verify(covered, signature.signature)
    altered = covered[:23] + bytes([covered[23] ^ 1]) + covered[24:]
    assert not signer.public.verify(altered, signature.signature)
    return 1


def signed_again(capture: Path) -> int:
    """RSA signatures that hipgw makes octet for octet with the recorded private keys."""
    count = 0
    for packet in hip_packets(capture):
        signer = identities(case_of(capture)).get(packet.hip.sender_hit)
        for kind, covers in (
            (HipSignature, signature_coverage),
            (HipSignature2, signature2_coverage),
        ):
            signature = packet.hip.get(kind)
            if signature is None or signature.algorithm != HiAlgorithm.RSA:
                continue
            assert signer.sign(covers(packet.data)) == signature.signature
            count += 1
    return count


def records_in_the_dht(capture: Path) -> int:
    """HDRR packets that a host puts into a DHT: HIP packets with HOST_ID and signature."""
    count = 0
    for ip in ip_packets(capture):
        if ip.protocol != _TCP:
            continue
        payload = ip.data[4 * (ip.data[12] >> 4) :]
        for value in re.findall(rb"<base64>(.*?)</base64>", payload, re.DOTALL):
            data = base64.b64decode(value)
            if data[:1] != bytes([NO_NEXT_HEADER]):
                continue
            hip = HipPacket.parse(data, versions={1})
            assert hip.packet_type is PacketType.HDRR
            assert hip.emit() == data
            if hip.parameters:
                host_id = hip.get(HostIdV1)
                _check_host_id(capture, host_id, hip.sender_hit)
                covered = signature_coverage(data)
                assert identity_of(host_id).verify(covered, hip.get(HipSignature).signature)
            else:
                # Who has a name stands there without any signature.
                assert hip.sender_hit in identities(case_of(capture))
            count += 1
    return count


def records_in_dns(capture: Path) -> int:
    """HIP resource records (RFC 5205 §5): the HIT is that of the key."""
    count = 0
    for ip in ip_packets(capture):
        sender = int.from_bytes(ip.data[:2], "big")
        if ip.protocol != _UDP or sender != _DNS_PORT:
            continue
        message = ip.data[8:]
        at = message.find(_HIP_RECORD)
        if at < 0:
            continue
        rdata = message[at + len(_HIP_RECORD) + 6 :]
        hit_length, algorithm, key_length = struct.unpack_from("!BBH", rdata)
        hit, key = rdata[4 : 4 + hit_length], rdata[4 + hit_length :][:key_length]
        assert algorithm == 2  # RSA, in the numbers of DNS (RFC 4025 §2.4)
        assert derive_hit_v1(key).packed == hit
        assert identities(case_of(capture))[IPv6Address(hit)].public.encoded == key
        count += 1
    return count


# -- the base exchange ---------------------------------------------------------------------------


def base_exchanges(capture: Path) -> int:
    """Exchanges with I2 and R2: the parameters fit together."""
    complete = [exchange for exchange in exchanges(capture) if exchange.r2 is not None]
    for exchange in complete:
        r1, i2 = exchange.r1.hip, exchange.i2.hip
        offered, chosen = r1.get(HipTransform), i2.get(HipTransform)
        assert chosen.suites == offered.suites[:1]
        puzzle, solution = r1.get(PuzzleV1), i2.get(SolutionV1)
        assert (puzzle.k, puzzle.opaque, puzzle.i) == (solution.k, solution.opaque, solution.i)
    return len(complete)


def unanswered(capture: Path) -> int:
    """Exchanges that end with I2, because the Responder was gone."""
    return sum(exchange.r2 is None for exchange in exchanges(capture))


def puzzles(capture: Path) -> int:
    """J solves the puzzle by OpenHIP's rule; by that of the RFC it does by chance only."""
    for exchange in exchanges(capture):
        assert solves(exchange, PuzzleBits.OPENHIP)
        assert not solves(exchange, PuzzleBits.LOWEST)
        assert not solves(exchange, PuzzleBits.OPENHIP, responder_first=True)
    return len(exchanges(capture))


def solves(exchange: Exchange, bits: PuzzleBits, *, responder_first: bool = False) -> bool:
    solution = exchange.i2.hip.get(SolutionV1)
    assert solution.k == 10
    return verify_puzzle(
        SHA1,
        solution.k,
        solution.i,
        exchange.initiator,
        exchange.responder,
        solution.j,
        length=8,
        bits=bits,
        responder_first=responder_first,
    )


def public_values(capture: Path) -> int:
    """Diffie-Hellman values: of full length and in their group, one in a packet."""
    count = 0
    for packet in hip_packets(capture):
        for value in packet.hip.all(DiffieHellmanV1):
            pair = _pair(value.group)
            assert value.second is None
            assert len(value.public_value) == len(pair.public_value)
            assert pair.shared_secret(value.public_value)
            count += 1
    return count


@cache
def _pair(group: int) -> DhKeyPair:
    return DhKeyPair.generate(group)


def keymats(capture: Path) -> int:
    """Kij makes the HIP keys that each of the two hosts printed."""
    count = 0
    for exchange in exchanges(capture):
        for printed in printed_of(capture, exchange):
            if printed.keymats[0].kij is not None:
                keymat = keymat_of(exchange, printed.keymats[0])
                suite = hip_suite(printed.hip_suite)
                keys = draw_hip_keys(keymat, *_greater_first(exchange), suite.cipher, suite.mac)
                assert printed.hip_keys == (
                    *(keys.outgoing_encryption, keys.outgoing_integrity),
                    *(keys.incoming_encryption, keys.incoming_integrity),
                )
                assert exchange.i2.hip.get(EspInfo).keymat_index == keymat.index
                count += 1
    return count


def esp_keys(capture: Path) -> int:
    """Kij makes every set of ESP keys that a host printed, rekeying included."""
    count = 0
    for exchange in exchanges(capture):
        for printed in printed_of(capture, exchange):
            for made in printed.keymats:
                if made.kij is None:
                    continue
                keymat = keymat_of(exchange, made)
                for expected in made.esp:
                    keymat.index = expected.keymat_index
                    keys = draw_esp_keys(keymat, *_greater_first(exchange), expected.suite)
                    assert expected.keys == (
                        *(keys.outgoing_encryption, keys.outgoing_authentication),
                        *(keys.incoming_encryption, keys.incoming_authentication),
                    )
                    count += 1
    return count


def keymat_of(exchange: Exchange, printed: PrintedKeymat) -> KeymatV1:
    solution = exchange.i2.hip.get(SolutionV1)
    assert printed.kij is not None
    return KeymatV1(
        kij_octets(printed.kij, KijZeros.MOVED_BEHIND),
        solution.i,
        solution.j,
        exchange.initiator,
        exchange.responder,
        SHA1,
        limit=KEYMAT_LENGTH,
    )


def _greater_first(exchange: Exchange) -> tuple[IPv6Address, IPv6Address]:
    lower, greater = sorted(exchange.hits)
    return greater, lower


def encrypted_host_ids(capture: Path) -> int:
    """ENCRYPTED in I2 opens, with the printed key, to the HOST_ID of the Initiator."""
    count = 0
    for exchange in exchanges(capture):
        encrypted = exchange.i2.hip.get(Encrypted)
        printed = printed_of(capture, exchange)[0]
        suite = hip_suite(printed.hip_suite)
        key = printed.hip_keys[0 if exchange.initiator > exchange.responder else 2]
        opened = decrypt_parameters(suite.cipher, key, encrypted.data)
        (host_id,) = parse_parameters(opened, version=1)
        assert isinstance(host_id, HostIdV1)
        _check_host_id(capture, host_id, exchange.initiator)
        count += 1
    return count


# -- MACs ----------------------------------------------------------------------------------------


def macs(capture: Path) -> int:
    """HMAC of I2, UPDATE, CLOSE and CLOSE_ACK, by the printed keys of their association."""
    count = 0
    for packet in hip_packets(capture):
        mac = packet.hip.get(HipMac)
        if mac is not None and packet.hip.get(AuthTicket) is None:
            assert _printed_by(capture, packet, mac.mac, mac_coverage(packet.data))
            count += 1
    return count


def macs_2(capture: Path) -> int:
    """HMAC_2 of R2, with the HOST_ID of R1 as it came."""
    count = 0
    for exchange in exchanges(capture):
        r2 = exchange.r2
        if r2 is None:
            continue
        (host_id,) = (
            exchange.r1.data[found.start : found.end]
            for found in tlv.scan(exchange.r1.data, HEADER_LENGTH, strict_order=False)
            if found.type == HostIdV1.TYPE
        )
        covered = mac2_coverage(r2.data, host_id)
        assert _printed_by(capture, r2, r2.hip.get(HipMac2).mac, covered)
        count += 1
    return count


def rvs_macs(capture: Path) -> int:
    """RVS_HMAC of a relayed I1, by the key from the server to its client."""
    count = 0
    for packet in hip_packets(capture):
        mac = packet.hip.get(RvsHmac)
        if mac is None:
            continue
        server = next(node.hit for node in nodes(case_of(capture)) if node.name == "S")
        client = packet.hip.receiver_hit
        covered = rvs_hmac_coverage(packet.data)
        holding = [
            printed
            for printed in _associations_of(capture, frozenset((server, client)))
            if SHA1.verify_mac(_integrity_key(printed, server, client), covered, mac.mac)
        ]
        assert holding
        count += 1
    return count


def tickets(capture: Path) -> int:
    """PROXY_TICKET and AUTH_TICKET of a mobile router, and the HMAC made by the lent key."""
    count = 0
    for packet in hip_packets(capture):
        ticket = packet.hip.get(ProxyTicket) or packet.hip.get(AuthTicket)
        if ticket is None:
            continue
        if isinstance(ticket, ProxyTicket):
            mobile, peer = ticket.mobile_hit, ticket.peer_hit
            assert mobile == packet.hip.sender_hit
        else:
            mobile, peer = packet.hip.sender_hit, packet.hip.receiver_hit
        # The ticket's own MAC is over the eight octets of its rights.
        rights = AuthTicket(
            ticket.key_index, ticket.transform, ticket.action, ticket.lifetime, ticket.mac
        ).emit()[:8]
        for printed in _associations_of(capture, frozenset((mobile, peer))):
            index, key = printed.proxy_key
            assert ticket.key_index == index
            assert SHA1.verify_mac(_integrity_key(printed, mobile, peer), rights, ticket.mac)
            if isinstance(ticket, ProxyTicket):
                assert ticket.key == key
            else:
                mac = packet.hip.get(HipMac).mac
                assert SHA1.verify_mac(key, mac_coverage(packet.data), mac)
        count += 1
    return count


def proxy_keys(capture: Path) -> int:
    """The key that a mobile router is lent is drawn from KEYMAT behind the ESP keys."""
    count = 0
    for exchange in exchanges(capture):
        for printed in printed_of(capture, exchange):
            if printed.proxy_key is not None:
                index, key = printed.proxy_key
                assert keymat_of(exchange, printed.keymats[0]).at(index, len(key)) == key
                count += 1
    return count


def echoes(capture: Path) -> int:
    """ECHO_RESPONSE_SIGNED of a CLOSE_ACK brings back what a CLOSE has asked."""
    asked = set()
    count = 0
    for packet in hip_packets(capture):
        request = packet.hip.get(EchoRequestSigned)
        response = packet.hip.get(EchoResponseSigned)
        hip = packet.hip
        if request is not None:
            asked.add((hip.sender_hit, hip.receiver_hit, request.data))
        if response is not None:
            assert (hip.receiver_hit, hip.sender_hit, response.data) in asked
            count += 1
    return count


@cache
def printed_of(capture: Path, exchange: Exchange) -> list[PrintedAssociation]:
    """What both hosts printed of this exchange; the Initiator alone where no R2 came."""
    mac, covered = exchange.i2.hip.get(HipMac).mac, mac_coverage(exchange.i2.data)
    found = [
        printed
        for printed in printed_associations(case_of(capture))
        if mac_function(printed).verify_mac(
            _integrity_key(printed, exchange.initiator, exchange.responder), covered, mac
        )
    ]
    hits = [_hit(capture, printed) for printed in found]
    expected = exchange.hits if exchange.r2 is not None else {exchange.initiator}
    assert sorted(hits) == sorted(expected)
    # By the RFC an HMAC-MD5 has 16 octets.
    if mac_function(found[0]).digest_size == MD5.digest_size:
        assert len(mac) == SHA1.digest_size
    return found


def mac_function(printed: PrintedAssociation) -> Rhash:
    """The function of the MACs, with OpenHIP's way of giving them all the same length."""
    mac = hip_suite(printed.hip_suite).mac
    return LeadingOctets(mac, GARBAGE_LENGTH) if mac is MD5 else mac


def _hit(capture: Path, printed: PrintedAssociation) -> IPv6Address:
    return next(node.hit for node in nodes(case_of(capture)) if node.name == printed.node)


def _associations_of(capture: Path, hits: frozenset[IPv6Address]) -> list[PrintedAssociation]:
    """What was printed of associations between two hosts, also where another capture began it."""
    return [
        printed
        for other in _captures_of_case(capture)
        for exchange in exchanges(other)
        if exchange.hits == hits
        for printed in printed_of(other, exchange)
    ]


@cache
def _captures_of_case(capture: Path) -> list[Path]:
    return [other for other in capture.parent.glob("*.pcap") if case_of(other) == case_of(capture)]


def _integrity_key(
    printed: PrintedAssociation, sender: IPv6Address, receiver: IPv6Address
) -> bytes:
    return printed.hip_keys[1 if sender > receiver else 3]


def _printed_by(capture: Path, packet: Packet, mac: bytes, covered: bytes) -> bool:
    """Whether the association's keys make this MAC, and not those of the other direction."""
    hip: HipPacket = packet.hip
    ends = hip.sender_hit, hip.receiver_hit
    for printed in _associations_of(capture, frozenset(ends)):
        function = mac_function(printed)
        if function.verify_mac(_integrity_key(printed, *ends), covered, mac):
            backwards = _integrity_key(printed, *reversed(ends))
            assert not function.verify_mac(backwards, covered, mac)
            return True
    return False


CHECKS: dict[str, Callable[[Path], int]] = {
    "HIP packets read": packets_read,
    "written again": packets_written,
    "of IP fragments": reassembled,
    "parameters out of order": out_of_order,
    "padding not zero": padded_with_garbage,
    "HOST_ID": host_ids,
    "HOST_ID encrypted": encrypted_host_ids,
    "SIGNATURE": signatures,
    "SIGNATURE_2": signatures_2,
    "no signature": unsigned,
    "signed again": signed_again,
    "base exchanges": base_exchanges,
    "I2 unanswered": unanswered,
    "puzzles": puzzles,
    "DH values": public_values,
    "HIP keys": keymats,
    "ESP keys": esp_keys,
    "HMAC": macs,
    "HMAC_2": macs_2,
    "RVS_HMAC": rvs_macs,
    "tickets": tickets,
    "lent keys": proxy_keys,
    "echoes": echoes,
    "in the DHT": records_in_the_dht,
    "in DNS": records_in_dns,
    "ESP packets": esp_seen,
    "cut off": cut_off,
}
"""Column of the table in tests/vectors/openhip/CHECKED.md -> check."""
