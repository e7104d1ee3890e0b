"""Make the ESP and puzzle vectors beside this file, with OpenSSL and hashlib.

They are laid out as Project Wycheproof's: groups of tests with a key, each test with flags that say
what it is about and the result to expect. Everything is derived from a seed, so that a second run
changes nothing:

    python rust/esp_core/tests/vectors/generate.py
"""

import hashlib
import hmac
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

HERE = Path(__file__).parent

NOTES = {
    "Normal": "a packet as hipgw sends it",
    "ExtendedSequenceNumber": "the high half of the sequence number is not zero",
    "ForeignIv": "a combined algorithm with an IV that is not the sequence number",
    "LongPadding": "more padding than the alignment asks for (RFC 4303 §2.4)",
    "ModifiedTag": "a bit of the ICV is flipped",
    "ModifiedText": "a bit of the cipher text is flipped",
    "ModifiedIv": "a bit of the IV is flipped",
    "ModifiedHeader": "the SPI or sequence number that came is not what the ICV covers",
    "WrongSequenceHigh": "the ICV was made with another high half",
    "NoSequenceHigh": "the ICV was made without the high half, as some peers do",
    "WrongKey": "sealed under another key",
    "Truncated": "octets are missing at the end",
    "BadPadding": "authentic, but the padding is not 1, 2, 3, …",
    "BadPadLength": "authentic, but the padding would be longer than the packet",
    "PartialBlock": "authentic, but the cipher text is not whole blocks",
}


class Stream:
    """Octets derived from a seed."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._counter = 0

    def __call__(self, length: int) -> bytes:
        self._counter += 1
        material = self._seed + self._counter.to_bytes(8, "big")
        return hashlib.shake_256(material).digest(length)


@dataclass(frozen=True)
class Suite:
    """An ESP transform suite: how RFC 7402 §5.1.2 numbers it, and its sizes in octets."""

    number: int
    name: str
    enc_key: int
    auth_key: int
    iv: int
    icv: int
    align: int
    salt: int

    @property
    def combined(self) -> bool:
        return self.auth_key == 0


SUITES = [
    Suite(7, "NULL-SHA256", 0, 32, 0, 16, 4, 0),
    Suite(8, "AES-128-CBC-SHA256", 16, 32, 16, 16, 16, 0),
    Suite(9, "AES-256-CBC-SHA256", 32, 32, 16, 16, 16, 0),
    Suite(10, "AES-128-CCM-8", 19, 0, 8, 8, 4, 3),
    Suite(11, "AES-128-CCM-16", 19, 0, 8, 16, 4, 3),
    Suite(12, "AES-128-GCM-8", 20, 0, 8, 8, 4, 4),
    Suite(13, "AES-128-GCM-16", 20, 0, 8, 16, 4, 4),
    Suite(65281, "ChaCha20-Poly1305", 36, 0, 8, 16, 4, 4),
]


def encrypt_combined(suite: Suite, key: bytes, iv: bytes, text: bytes, aad: bytes) -> bytes:
    """Return the cipher text and the tag (RFC 4106, RFC 4309, RFC 7634)."""
    key, salt = key[: -suite.salt], key[-suite.salt :]
    nonce = salt + iv
    if suite.number in (10, 11):
        return AESCCM(key, tag_length=suite.icv).encrypt(nonce, text, aad)
    if suite.number in (12, 13):
        sealed = AESGCM(key).encrypt(nonce, text, aad)
        # A shorter GCM tag is the beginning of the whole one (SP 800-38D §7.1).
        return sealed[: len(text) + suite.icv]
    return ChaCha20Poly1305(key).encrypt(nonce, text, aad)


def seal(
    suite: Suite,
    enc_key: bytes,
    auth_key: bytes,
    spi: int,
    seq: int,
    iv: bytes,
    text: bytes,
    covered_high: bytes | None = None,
) -> bytes:
    """Return the ESP packet of `text`, which has its trailer.

    `covered_high` is the high half of the sequence number that enters the ICV, if not the real one.
    """
    high = struct.pack(">I", seq >> 32) if covered_high is None else covered_high
    low = struct.pack(">I", seq & 0xFFFFFFFF)
    header = struct.pack(">I", spi) + low + iv
    if suite.combined:
        aad = struct.pack(">I", spi) + high + low
        return header + encrypt_combined(suite, enc_key, iv, text, aad)
    if suite.enc_key:
        # A tail that is no whole block (which no honest sender has) stays as it is.
        whole = len(text) // 16 * 16
        encryptor = Cipher(AES(enc_key), CBC(iv)).encryptor()
        text = encryptor.update(text[:whole]) + encryptor.finalize() + text[whole:]
    return header + text + hmac.digest(auth_key, header + text + high, "sha256")[: suite.icv]


def trailer(suite: Suite, payload_len: int, next_header: int, extra: int = 0) -> bytes:
    """Return the padding, the pad length and the next header (RFC 4303 §2.4)."""
    pad_len = -(payload_len + 2) % suite.align + extra
    return bytes(range(1, pad_len + 1)) + bytes([pad_len, next_header])


def flip(packet: bytes, index: int, bit: int = 0) -> bytes:
    """Return the packet with one bit changed."""
    changed = bytearray(packet)
    changed[index] ^= 1 << bit
    return bytes(changed)


class Group:
    """Tests under one pair of keys."""

    def __init__(self, suite: Suite, random: Stream, number_from: int) -> None:
        self.suite = suite
        self.random = random
        self.enc_key = random(suite.enc_key)
        self.auth_key = random(suite.auth_key)
        self.spi = 256 + int.from_bytes(random(4), "big") % (2**32 - 256)
        self.tests: list[dict[str, object]] = []
        self.flags: set[str] = set()
        self._number_from = number_from

    def seal(
        self, seq: int, text: bytes, iv: bytes | None = None, covered_high: bytes | None = None
    ) -> bytes:
        """Seal finished text under this group's keys; the IV is what hipgw sends, if not given."""
        if iv is None:
            iv = struct.pack(">Q", seq) if self.suite.combined else self.random(self.suite.iv)
        return seal(self.suite, self.enc_key, self.auth_key, self.spi, seq, iv, text, covered_high)

    def text(self, payload: bytes, next_header: int = 4, extra: int = 0) -> bytes:
        """Return the payload with its trailer."""
        return payload + trailer(self.suite, len(payload), next_header, extra)

    def valid(
        self, comment: str, flags: list[str], seq: int, payload: bytes, packet: bytes, nh: int = 4
    ) -> None:
        """Add a packet that has to be opened."""
        self._add(comment, flags, seq, packet, "valid", payload=payload.hex(), nextHeader=nh)

    def invalid(self, comment: str, flag: str, seq: int, packet: bytes, error: str) -> None:
        """Add a packet that has to be refused for the reason named."""
        self._add(comment, [flag], seq, packet, "invalid", error=error)

    def _add(
        self,
        comment: str,
        flags: list[str],
        seq: int,
        packet: bytes,
        result: str,
        **more: object,
    ) -> None:
        self.flags.update(flags)
        self.tests.append(
            {
                "tcId": self._number_from + len(self.tests),
                "comment": comment,
                "flags": flags,
                "seq": f"{seq:016x}",
                "packet": packet.hex(),
                "result": result,
                **more,
            }
        )

    def emit(self) -> dict[str, object]:
        """Return the group as JSON holds it."""
        return {
            "type": "EspPacket",
            "spi": self.spi,
            "encKey": self.enc_key.hex(),
            "authKey": self.auth_key.hex(),
            "tests": self.tests,
        }


def add_valid(group: Group) -> None:
    """Payload lengths round every block edge, sequence numbers round every word edge."""
    suite, random = group.suite, group.random
    for length in [*range(35), 63, 64, 65, 127, 254, 255, 256, 1400]:
        seq, payload = 1 + length, random(length)
        packet = group.seal(seq, group.text(payload))
        group.valid(f"payload of {length} octets", ["Normal"], seq, payload, packet)
    for seq in (1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1):
        payload = random(40)
        flags = ["Normal"] if seq < 2**32 else ["Normal", "ExtendedSequenceNumber"]
        packet = group.seal(seq, group.text(payload))
        group.valid(f"sequence number {seq:#x}", flags, seq, payload, packet)
    for nh in (0, 6, 59, 97, 255):
        payload = random(20)
        packet = group.seal(9, group.text(payload, nh))
        group.valid(f"next header {nh}", ["Normal"], 9, payload, packet, nh)
    for extra in (suite.align, 240):
        payload = random(20)
        packet = group.seal(10, group.text(payload, extra=extra))
        group.valid(f"{extra} more octets of padding", ["LongPadding"], 10, payload, packet)
    if suite.combined:
        payload = random(40)
        packet = group.seal(11, group.text(payload), iv=random(8))
        group.valid("random IV", ["ForeignIv"], 11, payload, packet)


def add_modified(group: Group) -> None:
    """Packets changed on the way."""
    suite, random = group.suite, group.random
    seq = 0x1_0000_0007
    packet = group.seal(seq, group.text(random(50)))
    icv_start = len(packet) - suite.icv
    body_start = 8 + suite.iv

    def refuse(comment: str, flag: str, changed: bytes, error: str = "Authentication") -> None:
        group.invalid(comment, flag, seq, changed, error)

    for index in range(suite.icv):
        refuse(
            f"bit flipped in octet {index} of the ICV",
            "ModifiedTag",
            flip(packet, icv_start + index, index % 8),
        )
    refuse("ICV all zero", "ModifiedTag", packet[:icv_start] + bytes(suite.icv))
    refuse("ICV all one", "ModifiedTag", packet[:icv_start] + b"\xff" * suite.icv)
    for index in (body_start, body_start + 15, body_start + 16, icv_start - 2, icv_start - 1):
        refuse(f"bit flipped in octet {index}", "ModifiedText", flip(packet, index, 7))
    for index in range(8, body_start):
        refuse(f"bit flipped in octet {index}", "ModifiedIv", flip(packet, index))
    for index in range(8):
        refuse(
            f"bit flipped in octet {index}", "ModifiedHeader", flip(packet, index), "HeaderMismatch"
        )

    for high in (0, 2, 3, 2**31):
        other = (high << 32) + (seq & 0xFFFFFFFF)
        comment = f"sent with high half 1, opened with {high}"
        group.invalid(comment, "WrongSequenceHigh", other, packet, "Authentication")
    group.invalid(
        "opened as the packet after it",
        "ModifiedHeader",
        seq + 1,
        packet,
        "HeaderMismatch",
    )
    bare = group.seal(5, group.text(random(50)), covered_high=b"")
    group.invalid("32-bit sequence numbers", "NoSequenceHigh", 5, bare, "Authentication")

    stranger = Group(suite, random, 0)
    stranger.spi = group.spi
    packet_of_stranger = stranger.seal(seq, stranger.text(random(50)))
    refuse("sealed under other keys", "WrongKey", packet_of_stranger)


def add_truncated(group: Group) -> None:
    """Packets that lost their end."""
    suite = group.suite
    seq = 77
    packet = group.seal(seq, group.text(group.random(14)))
    shortest = 8 + suite.iv + 2 + suite.icv
    for length in range(len(packet)):
        partial = suite.align == 16 and (length - shortest + 2) % 16
        error = "Malformed" if length < shortest or partial else "Authentication"
        group.invalid(f"first {length} octets", "Truncated", seq, packet[:length], error)


def add_bad_trailers(group: Group) -> None:
    """Packets whose sender has the keys and makes nonsense."""
    suite, random = group.suite, group.random
    # 32 octets, padding, pad length 14, next header: three CBC blocks with the padding below.
    for place in (0, 6, 13):
        padding = bytearray(range(1, 15))
        padding[place] ^= 0x40
        packet = group.seal(20, random(32) + bytes(padding) + bytes([14, 4]))
        group.invalid(f"octet {place} of the padding is wrong", "BadPadding", 20, packet, "Padding")
    zeros = group.seal(21, random(32) + bytes(14) + bytes([14, 4]))
    group.invalid("padding of zeros", "BadPadding", 21, zeros, "Padding")
    for pad_len in (31, 32, 255):
        packet = group.seal(22, bytes(30) + bytes([pad_len, 4]))
        group.invalid(f"pad length {pad_len} in 32 octets", "BadPadLength", 22, packet, "Padding")
    if suite.iv:
        # The octets of IV and text together are the padding that the length promises.
        octets = bytes(range(1, suite.iv + 31))
        text = octets[suite.iv :] + bytes([len(octets), 4])
        packet = group.seal(24, text, iv=octets[: suite.iv])
        group.invalid("padding reaches into the IV", "BadPadLength", 24, packet, "Padding")
    if suite.align == 16:
        packet = group.seal(23, group.text(random(30)) + b"\x00\x04")
        group.invalid("two octets over", "PartialBlock", 23, packet, "Malformed")


def esp_file(suite: Suite) -> dict[str, object]:
    """Return the vectors of one suite."""
    random = Stream(f"hipgw ESP vectors, suite {suite.number}")
    groups: list[Group] = []
    for add in (add_valid, add_modified, add_truncated, add_bad_trailers):
        number_from = 1 + sum(len(group.tests) for group in groups)
        group = Group(suite, random, number_from)
        add(group)
        groups.append(group)
    used = sorted(set().union(*(group.flags for group in groups)))
    return {
        "algorithm": f"ESP with {suite.name}",
        "suite": suite.number,
        "header": ["Made by generate.py with OpenSSL; 64-bit sequence numbers (RFC 7402 §3.3.6)."],
        "notes": {flag: NOTES[flag] for flag in used},
        "numberOfTests": sum(len(group.tests) for group in groups),
        "testGroups": [group.emit() for group in groups],
    }


PUZZLE_HASHES: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "sha256": (32, lambda data: hashlib.sha256(data).digest()),
    "sha384": (48, lambda data: hashlib.sha384(data).digest()),
    "sha1": (20, lambda data: hashlib.sha1(data, usedforsecurity=False).digest()),
    # cSHAKE128 without name and customization is SHAKE128 (SP 800-185 §3.3).
    "cshake128": (32, lambda data: hashlib.shake_128(data).digest(32)),
}


def puzzle_file() -> dict[str, object]:
    """Return puzzles with the first J that solves them."""
    tests: list[dict[str, object]] = []
    for name, (size, digest) in PUZZLE_HASHES.items():
        random = Stream(f"hipgw puzzle vectors, {name}")
        # I and J as long as RHASH is (HIPv2), 8 octets (HIPv1), and lengths that move J over the
        # edges of blocks; starts that make the number wrap.
        cases = [(size, size, difficulty, b"") for difficulty in (0, 1, 7, 8, 9, 12)]
        cases += [(8, 8, 10, b""), (0, 1, 3, b""), (100, 20, 9, b""), (23, 3, 11, b"")]
        cases += [(55, 9, 8, b""), (160, 40, 8, b""), (500, 64, 8, b"")]
        cases += [
            (size, size, 9, b"\xff" * size),
            (size, size, 9, b"\xff" * 8),
            (8, 2, 9, b"\xff" * 2),
        ]
        for i_len, length, difficulty, end in cases:
            prefix = random(i_len + 32)
            start = random(length)[: length - len(end)] + end
            number, mask = int.from_bytes(start, "big"), (1 << difficulty) - 1
            while True:
                j = (number % (1 << 8 * length)).to_bytes(length, "big")
                if int.from_bytes(digest(prefix + j), "big") & mask == 0:
                    break
                number += 1
            tests.append(
                {
                    "tcId": len(tests) + 1,
                    "hash": name,
                    "prefix": prefix.hex(),
                    "difficulty": difficulty,
                    "start": start.hex(),
                    "j": j.hex(),
                }
            )
    return {
        "algorithm": "HIP puzzle",
        "header": ["Made by generate.py with hashlib; J is the first solution from `start` on."],
        "numberOfTests": len(tests),
        "tests": tests,
    }


def write(name: str, contents: dict[str, object]) -> None:
    """Write one file of vectors."""
    text = json.dumps(contents, indent=1, ensure_ascii=False)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Write all of them."""
    for suite in SUITES:
        write(f"esp_{suite.name.lower().replace('-', '_')}.json", esp_file(suite))
    write("puzzle.json", puzzle_file())


if __name__ == "__main__":
    main()
