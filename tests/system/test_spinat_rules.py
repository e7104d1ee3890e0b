"""The rules of a mobile router on real kernels' tables: what they divert, and what they leave."""

import errno
import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hipgw.errors import PlatformError
from hipgw.lab import Host, Lab, wait_until
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.nfqueue import PacketQueue
from hipgw.platform import nf_tables
from hipgw.platform.diversion import CHAIN, TABLE, UNTRACKED_PRIORITY, Way
from hipgw.platform.journal import FILE_NAME, Journal
from hipgw.platform.spinat_rules import SpinatRules

pytestmark = pytest.mark.system

QUEUE, PORT = 4711, 10500
ROUTER = ("192.0.2.1", "2001:db8::1")
ELSEWHERE = ("198.51.100.1", "2001:db8:ffff::1")
TOOLS = ("iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy")

both_ways = pytest.mark.parametrize("way", list(Way))


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("rules") as lab:
        yield lab


@pytest.fixture
def pair(lab: Lab) -> tuple[Host, Host]:
    """A client and the router that it has its default route by."""
    client, router = lab.host("client"), lab.host("router")
    lab.link(client, "eth0", router, "eth0")
    client.address("eth0", "192.0.2.2/24", "2001:db8::2/64")
    router.address("eth0", f"{ROUTER[0]}/24", f"{ROUTER[1]}/64")
    client.route("default", via=ROUTER[0])
    client.route("default6", via=ROUTER[1])
    return client, router


@contextmanager
def ruled(router: Host, state: Path, way: Way) -> Iterator[SpinatRules]:
    rules = router.call(SpinatRules, QUEUE, PORT, Journal(state), ways=[way])
    try:
        yield rules
    finally:
        router.call(rules.close)


@contextmanager
def listening(router: Host) -> Iterator[list[bytes]]:
    """The packets that come to the queue."""
    packets: list[bytes] = []
    queue = router.call(PacketQueue, QUEUE)

    def drop(packet: bytes) -> bool:
        packets.append(packet)
        return False

    thread = threading.Thread(target=queue.run, args=(drop,))
    thread.start()
    try:
        yield packets
    finally:
        queue.stop()
        thread.join()
        queue.close()


def send(host: Host, destination: str, protocol: int, data: bytes, *, source_port: int = 0) -> None:
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    udp = protocol == 17

    def act() -> None:
        # A datagram's own port stands before its data.
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_RAW
        with socket.socket(family, kind, 0 if udp else protocol) as sock:
            if udp:
                sock.bind(("", source_port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            port = struct.unpack_from("!H", data)[0] if udp else 0
            sock.sendto(data[2 * udp :], (destination, port))

    host.call(act)


def icmp_error(version: int, protocol: int, ports: tuple[int, int], mark: bytes) -> bytes:
    """A message that some packet was too big, or its host not there."""
    body = struct.pack("!HH", *ports) + mark
    if version == 4:
        quoted = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 99, 0, 0, 9, protocol, 0, b"a" * 4, b"b" * 4)
        # Without a checksum: rules do not look at it.
        return struct.pack("!BBHI", 3, 1, 0, 0) + quoted + body
    quoted = struct.pack("!IHBB16s16s", 6 << 28, 99, protocol, 9, b"a" * 16, b"b" * 16)
    return struct.pack("!BBHI", 2, 0, 0, 1280) + quoted + body


def marks(packets: list[bytes]) -> set[bytes]:
    return {mark for packet in packets for mark in re.findall(rb"<[a-z0-9 .:]+>", packet)}


@both_ways
def test_what_is_diverted(pair: tuple[Host, Host], tmp_path: Path, way: Way) -> None:
    client, router = pair
    diverted: set[bytes] = set()
    others: set[bytes] = set()

    def to(wanted: set[bytes], mark: str) -> bytes:
        wanted.add(f"<{mark}>".encode())
        return f"<{mark}> ".encode()

    with ruled(router, tmp_path, way) as rules, listening(router) as packets:
        assert rules.reassembles
        for version, here, far in zip((4, 6), ROUTER, ELSEWHERE, strict=True):
            icmp = 1 if version == 4 else 58
            for place in (here, far):
                for protocol in (139, 50):
                    data = to(diverted, f"{protocol} {place}")
                    send(client, place, protocol, data.ljust(64, b"."))
                to_port, other = struct.pack("!H", PORT), struct.pack("!H", 9)
                send(client, place, 17, to_port + to(diverted, f"to port {place}"))
                from_port = to(diverted, f"from port {place}")
                send(client, place, 17, other + from_port, source_port=PORT)
                send(client, place, 17, other + to(others, f"udp {place}"))
                for protocol, ports in ((50, (0, 9)), (139, (0, 9)), (17, (9, PORT))):
                    mark = to(diverted, f"about {protocol} {place}")
                    send(client, place, icmp, icmp_error(version, protocol, ports, mark))
                if way is Way.NFTABLES:
                    mark = to(others, f"about others {place}")
                    send(client, place, icmp, icmp_error(version, 17, (9, 9), mark))
            # As many fragments as it takes: one packet in the end, and with its ports.
            for protocol in (50, 17):
                data = to_port * (protocol == 17) + to(diverted, f"whole {protocol} {far}")
                send(client, far, protocol, data + bytes(5000) + to(diverted, f"end {far}"))
        client.ip("route add 224.0.0.0/4 dev eth0")
        send(client, "224.0.0.9", 50, to(others, "multicast").ljust(64, b"."))
        send(client, "192.0.2.255", 139, to(others, "broadcast").ljust(64, b"."))
        assert router.ping("127.0.0.1", count=1)
        # The last one is the last that the queue gets.
        send(client, ELSEWHERE[0], 139, b"<end>".ljust(64, b"."))
        wait_until(lambda: b"<end>" in marks(packets), 20, what="the last packet")
        expected = {mark for mark in diverted if not mark.startswith(b"<end ")}
        assert marks(packets) - {b"<end>"} == expected
        for packet in packets:
            if b"<whole" in packet:
                octets = struct.unpack_from("!H", packet, 2 if packet[0] >> 4 == 4 else 4)[0]
                assert octets > 5000


@both_ways
def test_without_a_listener_nothing_is_lost(
    pair: tuple[Host, Host], tmp_path: Path, way: Way
) -> None:
    client, router = pair
    with ruled(router, tmp_path, way):

        def listen() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, 139)
            sock.settimeout(20)
            return sock

        with router.call(listen) as sock:
            send(client, ROUTER[0], 139, b"<here>".ljust(64, b"."))
            assert b"<here>" in sock.recv(2000)


def tables(router: Host) -> dict[str, str]:
    """All rules of iptables, without counters and comments."""
    found = {}
    for tool in TOOLS:
        said = router.run([f"{tool}-save"]).stdout
        rules = re.sub(r"\[\d+:\d+\]", "", said)
        found[tool] = "\n".join(line for line in rules.splitlines() if line[:1] not in {"#", ""})
    return found


@both_ways
def test_rules_of_others_stay_as_they_are(
    pair: tuple[Host, Host], tmp_path: Path, way: Way
) -> None:
    _, router = pair
    for tool in TOOLS:
        for table, chain in (
            ("raw", "PREROUTING"),
            ("mangle", "PREROUTING"),
            ("nat", "POSTROUTING"),
            ("filter", "FORWARD"),
        ):
            router.run([tool, "-w", "-t", table, "-N", "OTHERS"])
            router.run([tool, "-w", "-t", table, "-A", chain, "-p", "esp", "-j", "OTHERS"])
            router.run([tool, "-w", "-t", table, "-A", "OTHERS", "-p", "udp", "-j", "ACCEPT"])
    before = tables(router)
    with ruled(router, tmp_path, way) as rules:
        during = tables(router)
        for tool in TOOLS:
            own = [line for line in during[tool].splitlines() if CHAIN not in line]
            assert "\n".join(own) == before[tool]
        if way is Way.IPTABLES:
            said = router.run(["iptables", "-t", "raw", "-S", "PREROUTING"]).stdout
            assert said.splitlines()[1] == f"-A PREROUTING -j {CHAIN}"
            assert said.count(CHAIN) == 1
            for remove in (("iptables", "-D", "PREROUTING", "-j"), ("ip6tables", "-F")):
                router.run([remove[0], "-t", "raw", *remove[1:], CHAIN])
                router.call(rules.renew)
                wait_until(lambda: tables(router) == during, 20, what="the rules to be back")
        router.call(rules.renew)
    assert tables(router) == before
    assert not (tmp_path / FILE_NAME).exists()
    assert not router.call(nf_tables.exists, TABLE)


PROGRAM = """
import os, sys
from pathlib import Path
from hipgw.platform import privileges
from hipgw.platform.diversion import Way
from hipgw.platform.journal import Journal
from hipgw.platform.spinat_rules import SpinatRules
state = Path(sys.argv[1])
journal = Journal(state)
print("undid", journal.recover())
rules = SpinatRules(4711, 10500, journal, ways=[Way(sys.argv[2])])
journal.hand_over(*privileges.user_and_group("nobody"))
privileges.drop("nobody")
rules.renew()
print("set as", os.getuid() != 0, flush=True)
sys.stdin.read()
rules.close()
print("left", [file.name for file in state.iterdir()])
journal.undo()
"""


@both_ways
def test_kill_9_and_another_start(lab: Lab, pair: tuple[Host, Host], way: Way) -> None:
    """Rules of nf_tables go with the process; those of iptables are found again, not doubled."""
    _, router = pair
    state = lab.directory / "state"

    def run(program: str) -> list[str]:
        command = [sys.executable, "-c", program, str(state), way.value]
        return router.run(command, check=False).stdout.splitlines()

    killed = PROGRAM.replace("sys.stdin.read()", "os.kill(os.getpid(), 9)")
    assert run(killed) == ["undid 0", "set as True"]
    assert json.loads((state / FILE_NAME).read_text())["changes"][0]["way"] == way
    left = CHAIN in tables(router)["iptables"]
    assert left == (way is Way.IPTABLES)
    assert not router.call(nf_tables.exists, TABLE)
    # Another one without the record: nothing is doubled, either.
    (state / FILE_NAME).rename(lab.directory / "record")
    assert run(killed) == ["undid 0", "set as True"]
    for tool in TOOLS[:2]:
        assert tables(router)[tool].count(f"-A PREROUTING -j {CHAIN}") == left
    assert run(PROGRAM) == ["undid 1", "set as True", "left []"]
    assert CHAIN not in "".join(tables(router).values())


def test_one_router_in_a_namespace(pair: tuple[Host, Host], tmp_path: Path) -> None:
    _, router = pair
    with ruled(router, tmp_path / "one", Way.NFTABLES):
        with pytest.raises(PlatformError, match=TABLE) as caught:
            router.call(SpinatRules, QUEUE + 1, PORT, Journal(tmp_path / "two"))
        assert "one mobile router" in caught.value.hint
        # Nor may anybody else remove it.
        with pytest.raises(OSError) as refused:
            router.call(nf_tables.remove, TABLE)
        assert refused.value.errno == errno.EPERM
        assert CHAIN not in "".join(tables(router).values())


def test_what_is_sent_for_others_passes_no_nat(pair: tuple[Host, Host], tmp_path: Path) -> None:
    """As a rule that masquerades takes an interface's first address, and any port."""
    client, router = pair
    second = "192.0.2.9"
    router.address("eth0", f"{second}/24")
    router.run(["iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE"])

    def raw(priority: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)
        return sock

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, 50)
        sock.settimeout(20)
        return sock

    addresses = [socket.inet_aton(one) for one in (second, "192.0.2.2")]
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 36, 0, 0, 64, 50, 0, *addresses) + bytes(16)
    with ruled(router, tmp_path, Way.NFTABLES), client.call(listen) as sock:
        for priority, source in ((UNTRACKED_PRIORITY, second), (0, ROUTER[0])):
            with router.call(raw, priority) as sender:
                sender.sendto(packet, ("192.0.2.2", 0))
            assert sock.recvfrom(2000)[1][0] == source


def test_doctor_tries_all_of_it(pair: tuple[Host, Host]) -> None:
    _, router = pair
    daemon = HipgwDaemon(router)
    daemon.configure({"mobile_router": {"external_interfaces": ["eth*"]}})
    command = [sys.executable, "-m", "hipgw.cli.main", "doctor", "--json"]
    done = router.run([*command, "--config", daemon.config_file], check=False)
    found = {entry["name"]: entry["verdict"] for entry in json.loads(done.stdout)}
    for name in ("outside", "rules", "queue"):
        assert found[f"mobile router, {name}"] == "good"
    assert "mobile router, eBPF" in found
    assert CHAIN not in "".join(tables(router).values())
    assert not router.call(nf_tables.exists, TABLE)


def test_kernels_where_a_table_belongs_to_nobody(
    pair: tuple[Host, Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 5.12: others can flush it, and it outlasts the process."""
    _, router = pair
    monkeypatch.setattr(nf_tables, "_OWNER", 1 << 7)  # a flag that no kernel knows
    with ruled(router, tmp_path, Way.NFTABLES) as rules:
        router.run(["nft", "flush", "ruleset"])
        assert not router.call(nf_tables.exists, TABLE)
        router.call(rules.renew)
        assert router.call(nf_tables.exists, TABLE)
        router.run(["nft", "flush", "chain", "inet", TABLE, "prerouting"])
        router.call(rules.renew)
        said = json.loads(router.run(["nft", "-j", "list", "table", "inet", TABLE]).stdout)
        kept = [entry for entry in said["nftables"] if "rule" in entry]
        assert len(kept) > 20
        # As after kill -9: another one finds the record, and the table.
        assert router.call(Journal(tmp_path).recover) == 1
        assert not router.call(nf_tables.exists, TABLE)
