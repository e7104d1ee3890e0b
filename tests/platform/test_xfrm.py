"""The messages of NETLINK_XFRM, octet for octet, and what this kernel makes of them."""

import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.identity.hit import HIT_PREFIX
from hipgw.platform import xfrm
from hipgw.platform import xfrm_messages as m
from hipgw.platform.journal import Journal
from hipgw.platform.netlink_socket import split
from hipgw.platform.netns import leave_network
from hipgw.platform.xfrm_codec import (
    attributes,
    moved_message,
    packed,
    parse_counters,
    parse_event,
    redacted,
    sa_message,
)
from hipgw.platform.xfrm_values import (
    Acquired,
    Algorithms,
    Expired,
    Mapped,
    Policy,
    Sequence,
    State,
)

LOCAL, PEER = IPv6Address("2001:21::a"), IPv6Address("2001:21::b")
OUTER = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
KEY = bytes(range(20))

SIZES = {
    m.xfrm_usersa_info: 224,
    m.xfrm_usersa_id: 24,
    m.xfrm_userpolicy_info: 168,
    m.xfrm_userpolicy_id: 64,
    m.xfrm_user_acquire: 280,
    m.xfrm_user_expire: 232,
    m.xfrm_user_mapping: 64,
    m.xfrm_nlmsg.xfrm_user_tmpl: 64,
    m.xfrm_nlmsg.xfrm_encap_tmpl: 24,
    m.xfrm_nlmsg.xfrm_user_migrate: 76,
    m.xfrm_nlmsg.xfrm_algo: 68,
    m.xfrm_nlmsg.xfrm_algo_trunc: 72,
    m.xfrm_nlmsg.xfrm_replay_state_esn: 24,
}
"""`sizeof` of each in C, on a 64-bit machine."""


def outbound(**changes: Any) -> State:
    values: dict[str, Any] = {
        "source": OUTER[0],
        "destination": OUTER[1],
        "spi": 0x01020304,
        "inner_source": LOCAL,
        "inner_destination": PEER,
        "reqid": 7,
        "algorithms": Algorithms("rfc4106(gcm(aes))", KEY, 128),
    }
    return State(**{**values, **changes})


def encoded(message: Any) -> bytes:
    message["header"] = {"type": 0, "flags": 0, "sequence_number": 0, "pid": 0}
    message.encode()
    return bytes(message.data)


def attributes_of(data: bytes) -> dict[int, bytes]:
    return dict(attributes(data, 16 + 224))


@pytest.mark.parametrize("kind", SIZES)
def test_a_structure_is_as_long_as_in_c(kind: Any) -> None:
    formats = [kind_format for _, kind_format in kind.fields if kind_format != "s"]
    # Each field by itself: pyroute2 adds no padding of its own.
    assert sum(struct.calcsize(one) for one in formats) == SIZES[kind]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_layout_is_that_of_the_kernel_headers(tmp_path: Any) -> None:
    """`offsetof` of every field, by the C compiler and linux/xfrm.h."""
    names: list[tuple[str, str, int]] = []
    for kind in (m.xfrm_usersa_info, m.xfrm_userpolicy_info, m.xfrm_user_mapping):
        offset = 0
        for name, form in kind.fields:
            if not name.startswith("__"):
                for prefix in ("sel", "id", "lft", "curlft", "stats"):
                    if name.startswith(prefix + "_"):
                        name = f"{prefix}.{name.removeprefix(prefix + '_')}"
                        break
                if kind is m.xfrm_user_mapping and name in ("daddr", "spi", "family", "proto"):
                    name = f"id.{name}"
                names.append((kind.__name__, name, offset))
            offset += struct.calcsize(form)
    lines = [f'printf("%zu\\n", offsetof(struct {kind}, {name}));' for kind, name, _ in names]
    source = tmp_path / "offsets.c"
    source.write_text(
        "#include <stdio.h>\n#include <stddef.h>\n#include <linux/xfrm.h>\n"
        "int main(void) {" + "\n".join(lines) + "return 0; }"
    )
    program = tmp_path / "offsets"
    built = subprocess.run(["cc", "-o", program, source], capture_output=True, check=False)
    if built.returncode:
        pytest.skip("the kernel's headers are not there")
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    assert [int(offset) for offset in said] == [offset for _, _, offset in names]


def test_a_security_association_octet_for_octet() -> None:
    """BEET, AEAD, ESP in UDP and 64-bit numbers, written by hand from linux/xfrm.h."""
    data = encoded(sa_message(outbound(ports=(10500, 10501))))
    selector = (
        PEER.packed + LOCAL.packed + bytes(8) + struct.pack("=HBBBxxxiI", 10, 128, 128, *[0] * 3)
    )
    infinite = 2**64 - 1
    body = (
        selector
        + OUTER[1].packed.ljust(16, b"\0")
        + bytes.fromhex("01020304")
        + bytes([50, 0, 0, 0])
        + OUTER[0].packed.ljust(16, b"\0")
        + struct.pack("=8Q", *[infinite] * 4, *[0] * 4)
        + bytes(32)  # curlft
        + bytes(12)  # stats
        + struct.pack("=IIHBBB7x", 0, 7, 2, 4, 0, m.XFRM_STATE_ESN | m.XFRM_STATE_DECAP_DSCP)
    )
    assert len(body) == 224
    assert data[16 : 16 + 224] == body
    assert attributes_of(data) == {
        18: b"rfc4106(gcm(aes))".ljust(64, b"\0") + struct.pack("=II", 160, 128) + KEY,
        23: struct.pack("=6I", 1, 0, 0, 0, 0, 32) + bytes(4),
        4: struct.pack("=H", 2) + struct.pack(">HH", 10500, 10501) + bytes(2 + 16),
    }


def test_a_cipher_with_a_truncated_hmac() -> None:
    algorithms = Algorithms("cbc(aes)", bytes(16), 128, "hmac(sha256)", b"\x05" * 32)
    data = encoded(sa_message(outbound(algorithms=algorithms)))
    found = attributes_of(data)
    assert found[2] == b"cbc(aes)".ljust(64, b"\0") + struct.pack("=I", 128) + bytes(16)
    assert found[20] == (
        b"hmac(sha256)".ljust(64, b"\0") + struct.pack("=II", 256, 128) + b"\x05" * 32
    )
    assert 18 not in found


def test_the_replay_window_is_what_the_kernel_can_have() -> None:
    for asked, got in ((64, 64), (100, 100), (8192, 4096), (0, 32)):
        data = encoded(sa_message(outbound(replay_window=asked)))
        words, *_, window = struct.unpack_from("=6I", attributes_of(data)[23])
        assert window == got
        assert words == (got + 31) // 32
        assert len(attributes_of(data)[23]) == 24 + 4 * words


def test_options_of_an_association() -> None:
    data = encoded(sa_message(outbound(ecn=False, copy_dscp=False, inbound=True)))
    assert data[16 + 216] == m.XFRM_STATE_ESN | m.XFRM_STATE_NOECN
    assert attributes_of(data)[24] == struct.pack("=I", m.XFRM_SA_XFLAG_DONT_ENCAP_DSCP)
    assert struct.unpack_from("=8Q", data, 16 + 96)[2] == 1
    sequence = Sequence(sent=0x1_0000_0002, received=0x3_0000_0004)
    data = encoded(sa_message(outbound(sequence=sequence)))
    assert struct.unpack_from("=6I", attributes_of(data)[23])[1:5] == (2, 4, 1, 3)


def test_counters_are_read_from_an_answer() -> None:
    message = sa_message(outbound(sequence=Sequence(0x1_0000_0002, 0x3_0000_0004)))
    message.update({"curlft_bytes": 5000, "curlft_packets": 7})
    message.update({"stats_replay": 3, "stats_integrity_failed": 2})
    counters = parse_counters(encoded(message))
    assert counters.destination == packed(OUTER[1])
    assert (counters.spi, counters.reqid) == (0x01020304, 7)
    assert (counters.octets, counters.packets) == (5000, 7)
    assert (counters.replayed, counters.auth_failed) == (3, 2)
    assert counters.sequence == Sequence(0x1_0000_0002, 0x3_0000_0004)


MOVES = [
    {"ports": (10500, 10501)},
    {"inbound": True, "ports": (1, 2), "replay_window": 4096},
    {"algorithms": Algorithms("cbc(aes)", b"k" * 16, 128, "hmac(sha256)", b"a" * 32)},
    {"copy_dscp": False, "ecn": False},
]


@pytest.mark.parametrize("changes", MOVES)
@pytest.mark.parametrize("ports", [None, (7, 8)])
def test_a_moved_association_differs_by_its_path_alone(
    changes: dict[str, Any], ports: tuple[int, int] | None
) -> None:
    there = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
    before = Sequence(0x1_FFFF_FFFF, 0x3_0000_0004)
    after = Sequence(0x2_0000_0009, 0x3_0000_0004)
    old = encoded(sa_message(outbound(**changes, sequence=before)))
    new = encoded(moved_message(old, *there, ports, 10))
    values = {**changes, "source": there[0], "destination": there[1], "ports": ports}
    wanted = encoded(sa_message(outbound(**values, sequence=after)))
    assert new[16 : 16 + 224] == wanted[16 : 16 + 224]
    found = attributes_of(new)
    if ports is not None and changes.get("inbound") and "ports" in changes:
        assert found == attributes_of(wanted)
    else:
        assert {**found, 32: b""} == {**attributes_of(wanted), 32: b""}


def test_keys_that_the_kernel_hides_are_not_taken_for_keys() -> None:
    for algorithms in (
        Algorithms("rfc4106(gcm(aes))", bytes(20), 128),
        Algorithms("cbc(aes)", b"k" * 16, 128, "hmac(sha256)", bytes(32)),
    ):
        assert redacted(encoded(sa_message(outbound(algorithms=algorithms))))
    null = Algorithms("ecb(cipher_null)", b"", 128, "hmac(sha256)", b"a" * 32)
    for state in (outbound(), outbound(algorithms=null)):
        assert not redacted(encoded(sa_message(state)))


def test_events_are_read() -> None:
    expire = m.xfrm_user_expire()
    expire.update({"id_spi": 9, "id_proto": 50, "reqid": 4, "hard": 1})
    assert parse_event(m.XFRM_MSG_EXPIRE, encoded(expire)) == Expired(9, 4, hard=True)
    acquire = m.xfrm_user_acquire()
    acquire.update({"sel_daddr": PEER.packed, "sel_family": 10})
    event = parse_event(m.XFRM_MSG_ACQUIRE, encoded(acquire))
    assert event == Acquired(PEER)
    mapping = m.xfrm_user_mapping()
    mapping.update({"spi": 9, "proto": 50, "family": 2, "reqid": 4, "new_sport": 1024})
    mapping.update({"old_saddr": bytes(16), "new_saddr": packed(OUTER[1])})
    event = parse_event(m.XFRM_MSG_MAPPING, encoded(mapping))
    assert event == Mapped(9, 4, OUTER[1], 1024)
    expire["id_proto"] = 51  # AH: somebody else's
    expire.reset()
    assert parse_event(m.XFRM_MSG_EXPIRE, encoded(expire)) is None
    assert parse_event(m.XFRM_MSG_NEWSA, b"") is None


@given(st.binary(max_size=100))
def test_what_is_no_netlink_is_passed_over(data: bytes) -> None:
    for sequence, kind, body in split(data):
        assert 0 <= sequence < 2**32
        assert 0 <= kind < 2**16
        assert 16 <= len(body) <= len(data)


# -- against the kernel ----------------------------------------------------------------------------

root = pytest.mark.skipif(bool(os.geteuid()), reason="only root may change XFRM")


@pytest.fixture
def inside() -> Iterator[Callable[..., Any]]:
    """Runs functions in a network namespace of their own, which ends with the test."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(leave_network).result()
        yield lambda function, *args: thread.submit(function, *args).result(20)


def ip(*words: str) -> str:
    command = ["ip", "-d", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@root
def test_policies_are_what_iproute2_shows(inside: Callable[..., Any]) -> None:
    def work() -> tuple[str, int, str]:
        kernel = xfrm.Xfrm()
        for policy in (
            Policy(m.XFRM_POLICY_OUT, LOCAL, PEER, 200, reqid=7, spi=0x101, outer=OUTER),
            Policy(m.XFRM_POLICY_IN, PEER, LOCAL, 200, reqid=7),
            Policy(m.XFRM_POLICY_IN, HIT_PREFIX, LOCAL, 4000, block=True),
        ):
            kernel.set_policy(policy)
            kernel.set_policy(policy)  # replaces it
        shown = ip("xfrm", "policy")
        count = kernel.sweep(LOCAL, HIT_PREFIX)
        kernel.close()
        return shown, count, ip("xfrm", "policy")

    shown, count, left = inside(work)
    text = " ".join(shown.split())
    assert (
        "src 2001:21::a/128 dst 2001:21::b/128 dir out priority 200 ptype main"
        " tmpl src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x00000101 reqid 7 mode beet" in text
    )
    assert (
        "src 2001:21::b/128 dst 2001:21::a/128 dir in priority 200 ptype main"
        " tmpl src :: dst :: proto esp reqid 7 mode beet" in text
    )
    assert "src 2001:20::/28 dst 2001:21::a/128 dir in action block priority 4000" in text
    assert shown.count("ptype main") == 3
    assert (count, left) == (3, "")


@root
def test_sweeping_leaves_what_is_of_others(inside: Callable[..., Any]) -> None:
    def work() -> str:
        kernel = xfrm.Xfrm()
        other = IPv6Address("2001:db8::1")
        kernel.set_policy(Policy(m.XFRM_POLICY_OUT, LOCAL, other, 200, reqid=7, outer=OUTER))
        kernel.set_policy(Policy(m.XFRM_POLICY_OUT, PEER, PEER, 200))
        assert kernel.sweep(LOCAL, HIT_PREFIX) == 0
        kernel.close()
        return ip("xfrm", "policy")

    assert inside(work).count("dir out") == 2


@root
def test_an_association_gets_as_far_as_the_kernel_has_esp(inside: Callable[..., Any]) -> None:
    """Everything is understood; a kernel without ESP (or the cipher) then says just that."""
    lacking = {errno.ENOSYS, errno.EPROTONOSUPPORT, errno.ENOENT}

    def work() -> None:
        kernel = xfrm.Xfrm()
        cbc = Algorithms("cbc(aes)", bytes(16), 128, "hmac(sha256)", bytes(32))
        for changes in ({}, {"algorithms": cbc}, {"ports": (1, 2)}, {"replay_window": 4096}):
            try:
                kernel.add(outbound(**changes))
            except OSError as error:
                assert error.errno in lacking, error
            else:
                assert kernel.counters(OUTER[1], 0x01020304).packets == 0
                kernel.remove(OUTER[1], 0x01020304)
        with pytest.raises(ProcessLookupError):
            kernel.remove(OUTER[1], 0x01020304)
        with pytest.raises(ProcessLookupError):
            kernel.counters(OUTER[1], 0x01020304)
        assert list(kernel.all_counters()) == []
        kernel.close()

    inside(work)


@root
def test_the_kernel_explains_what_it_refuses(inside: Callable[..., Any]) -> None:
    def work() -> None:
        kernel = xfrm.Xfrm()
        message = sa_message(outbound())
        message["sel_prefixlen_d"] = 129
        with pytest.raises(OSError, match="prefix length") as refused:
            kernel.add_message(message)
        assert refused.value.errno == errno.EINVAL
        kernel.close()

    inside(work)


@root
def test_a_route_with_an_mtu(inside: Callable[..., Any]) -> None:
    def work() -> None:
        subprocess.run(["ip", "link", "add", "d0", "type", "dummy"], check=False)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "addr", "add", f"{LOCAL}/128", "dev", "lo"], check=True)
        kernel = xfrm.Xfrm()
        for mtu in (1400, 1300):
            kernel.set_route(PEER, 1, LOCAL, mtu)
            shown = ip("-6", "route", "show", str(PEER))
            assert f"mtu {mtu}" in shown
            assert f"src {LOCAL}" in shown
        kernel.remove_route(PEER, 1)
        with pytest.raises(ProcessLookupError):
            kernel.remove_route(PEER, 1)
        kernel.close()

    inside(work)


@root
def test_the_journal_removes_what_a_crash_has_left(
    inside: Callable[..., Any], tmp_path: Any
) -> None:
    def work() -> None:
        kernel = xfrm.Xfrm()
        Journal(tmp_path).kernel_esp(LOCAL, HIT_PREFIX)
        kernel.set_policy(Policy(m.XFRM_POLICY_OUT, LOCAL, PEER, 200, reqid=7, outer=OUTER))
        assert Journal(tmp_path).recover() == 1
        assert ip("xfrm", "policy") == ""
        assert Journal(tmp_path).recover() == 0
        kernel.close()

    inside(work)
