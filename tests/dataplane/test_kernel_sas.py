"""What the kernel is told of security associations: which, and in which order."""

import errno
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

import pytest

from hipgw.dataplane.kernel_sas import LAST_LOOK_S, SEQUENCE_SKIP, KernelSas, Place, Sa
from hipgw.dataplane.kernel_suites import algorithms, inner_mtu, trials
from hipgw.errors import DataPlaneError
from hipgw.identity.esp_suites import CHACHA20_POLY1305, ESP_SUITES
from hipgw.platform.xfrm_codec import packed
from hipgw.platform.xfrm_messages import XFRM_POLICY_IN, XFRM_POLICY_OUT
from hipgw.platform.xfrm_values import Counters, Policy, Sequence, State

LOCAL, PEER, OTHER = (IPv6Address(f"2001:21::{n}") for n in (1, 2, 3))
OWN, THERE, MOVED = (IPv4Address(f"192.0.2.{n}") for n in (1, 2, 3))
OWN6 = IPv6Address("2001:db8::1")
PLACE = Place(OWN, THERE, True, 10500, 10500)


class Kernel:
    """Does what `xfrm.Xfrm` does, in a dictionary."""

    def __init__(self) -> None:
        self.states: dict[tuple[Any, int], State] = {}
        self.policies: dict[tuple[Any, ...], Policy] = {}
        self.routes: dict[IPv6Address, int] = {}
        self.packets: dict[tuple[Any, int], int] = {}
        self.calls: list[str] = []
        self.refuse: OSError | None = None

    def sweep(self, local: IPv6Address, others: IPv6Network) -> int:
        assert local == LOCAL
        assert PEER in others
        self.states.clear()
        self.policies.clear()
        return 0

    def add(self, state: State) -> None:
        self.calls.append("add")
        if self.refuse is not None:
            raise self.refuse
        key = (state.destination, state.spi)
        if key in self.states:
            raise FileExistsError(errno.EEXIST, "File exists")
        self.states[key] = state

    def remove(self, destination: Any, spi: int) -> None:
        self.calls.append("remove")
        if self.states.pop((destination, spi), None) is None:
            raise ProcessLookupError(errno.ESRCH, "No such process")

    def replace(
        self,
        destination: Any,
        spi: int,
        *,
        new_source: Any,
        new_destination: Any,
        ports: tuple[int, int] | None,
        skip: int,
        keep_old: bool,
    ) -> Counters:
        self.calls.append("replace")
        if self.refuse is not None:
            raise self.refuse
        before = self.counters(destination, spi)
        old = self.states[destination, spi]
        if not keep_old or destination == new_destination:
            del self.states[destination, spi]
        self.packets.pop((destination, spi), None)
        values = {name: getattr(old, name) for name in old.__slots__}
        values |= {"source": new_source, "destination": new_destination, "ports": ports}
        values["sequence"] = Sequence(old.sequence.sent + skip)
        self.states[new_destination, spi] = State(**values)
        return before

    def counters(self, destination: Any, spi: int) -> Counters:
        state = self.states[destination, spi]
        packets = self.packets.get((destination, spi), 0)
        return Counters(
            packed(destination),
            spi,
            state.reqid,
            packets * 100,
            packets,
            1,
            2,
            state.sequence,
        )

    def all_counters(self) -> list[Counters]:
        return [self.counters(*key) for key in self.states]

    def set_policy(self, policy: Policy) -> None:
        self.calls.append("policy")
        self.policies[policy.direction, policy.source, policy.destination] = policy

    def remove_policy(self, policy: Policy) -> None:
        key = (policy.direction, policy.source, policy.destination)
        if self.policies.pop(key, None) is None:
            raise FileNotFoundError(errno.ENOENT, "No such file")

    def set_route(self, destination: IPv6Address, interface: int, source: Any, mtu: int) -> None:
        assert (interface, source) == (7, LOCAL)
        self.routes[destination] = mtu

    def remove_route(self, destination: IPv6Address, interface: int) -> None:
        del self.routes[destination]

    # -- for the tests ---------------------------------------------------------------------------

    def out(self, peer: IPv6Address = PEER) -> Policy | None:
        return self.policies.get((XFRM_POLICY_OUT, LOCAL, peer))

    def inward(self, peer: IPv6Address = PEER) -> Policy | None:
        return self.policies.get((XFRM_POLICY_IN, peer, LOCAL))


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def sas(kernel: Kernel) -> KernelSas:
    return KernelSas(kernel, LOCAL, 7)  # type: ignore[arg-type]


def install(
    sas: KernelSas,
    direction: str,
    spi: int,
    peer: IPv6Address = PEER,
    place: Place = PLACE,
    key: bytes = b"",
    **options: Any,
) -> Sa:
    material = key or spi.to_bytes(20)
    sa = Sa(direction, spi, 13, LOCAL, peer, place, sas.digest(material, b""), **options)
    sas.install(sa, algorithms(13, material, b""), replay_window=8192, copy_dscp=True, ecn=True)
    return sa


def pair(sas: KernelSas, first: int = 1) -> None:
    install(sas, "in", first)
    install(sas, "out", first + 1)


def test_a_pair_and_its_end(kernel: Kernel, sas: KernelSas) -> None:
    own = dict(kernel.policies)
    assert sum(policy.block for policy in own.values()) == 1
    pair(sas)
    inbound, outbound = kernel.states[OWN, 1], kernel.states[THERE, 2]
    assert (inbound.inner_source, inbound.inner_destination) == (PEER, LOCAL)
    assert (outbound.inner_source, outbound.inner_destination) == (LOCAL, PEER)
    assert (inbound.source, outbound.source) == (THERE, OWN)
    assert (inbound.replay_window, outbound.replay_window) == (8192, 0)
    assert (inbound.inbound, outbound.inbound) == (True, False)
    out, inward = kernel.out(), kernel.inward()
    assert out is not None
    assert inward is not None
    assert (out.spi, out.outer, out.reqid) == (2, (OWN, THERE), outbound.reqid)
    # Whatever its path, but by its own associations only.
    assert (inward.spi, inward.outer, inward.reqid) == (0, None, inbound.reqid)
    assert kernel.routes == {PEER: inner_mtu(1500, 13, version=4, udp=True)}
    install(sas, "in", 9, OTHER)
    assert kernel.states[OWN, 9].reqid != inbound.reqid
    sas.remove("out", 2, PEER)
    assert kernel.out() is None
    assert not sas.carries(PEER)
    sas.remove("in", 1, PEER)
    sas.remove("in", 1, PEER)
    sas.remove("in", 9, OTHER)
    assert kernel.policies == own
    assert kernel.states == {}
    assert kernel.routes == {}


def test_a_rekeying_turns_the_policy_and_takes_both_in_the_meantime(
    kernel: Kernel, sas: KernelSas
) -> None:
    pair(sas)
    install(sas, "in", 11)
    assert {(OWN, 1), (OWN, 11)} <= set(kernel.states)
    install(sas, "out", 12)
    assert kernel.out() is not None
    assert kernel.out().spi == 12  # type: ignore[union-attr]
    sas.remove("out", 2, PEER)
    assert kernel.out().spi == 12  # type: ignore[union-attr]
    sas.remove("in", 1, PEER)
    assert set(kernel.states) == {(OWN, 11), (THERE, 12)}
    # One that is given up again leaves the traffic to the one before.
    install(sas, "out", 22)
    sas.remove("out", 22, PEER)
    assert kernel.out().spi == 12  # type: ignore[union-attr]


def test_the_policy_is_turned_before_the_old_association_goes(
    kernel: Kernel, sas: KernelSas
) -> None:
    pair(sas)
    kernel.packets[THERE, 2] = 5
    kernel.calls.clear()
    sas.move(2, PEER, Place(OWN, MOVED, True, 10500, 4500), 1400, verified=True)
    assert kernel.calls == ["replace", "replace", "policy", "remove", "policy"]
    assert set(kernel.states) == {(OWN, 1), (MOVED, 2)}
    outbound, inbound = kernel.states[MOVED, 2], kernel.states[OWN, 1]
    assert outbound.sequence.sent == SEQUENCE_SKIP
    assert inbound.sequence.sent == 0
    assert (outbound.ports, inbound.ports) == ((10500, 4500), (4500, 10500))
    assert inbound.source == MOVED
    assert kernel.out().outer == (OWN, MOVED)  # type: ignore[union-attr]
    # What was carried before the move still counts.
    kernel.packets[MOVED, 2] = 3
    everything, _ = sas.count(1.0)
    moved = next(sa for sa in everything if sa.spi == 2).described(1.0)
    assert (moved.packets, moved.bytes, moved.remote, moved.remote_port) == (8, 800, MOVED, 4500)


def test_another_own_address_moves_what_comes_in(kernel: Kernel, sas: KernelSas) -> None:
    pair(sas)
    install(sas, "in", 11)
    there6 = IPv6Address("2001:db8::2")
    sas.move(2, PEER, Place(OWN6, there6, False, 0, 0), 1500, verified=True)
    assert set(kernel.states) == {(OWN6, 1), (OWN6, 11), (there6, 2)}
    assert all(state.ports is None for state in kernel.states.values())
    assert kernel.routes[PEER] == inner_mtu(1500, 13, version=6, udp=False)


def test_only_the_mtu_changes(kernel: Kernel, sas: KernelSas) -> None:
    pair(sas)
    kernel.calls.clear()
    sas.move(2, PEER, PLACE, 1400, verified=True)
    assert "replace" not in kernel.calls
    assert kernel.routes[PEER] == inner_mtu(1400, 13, version=4, udp=True)


def test_nothing_is_sent_to_where_the_peer_may_not_be(kernel: Kernel, sas: KernelSas) -> None:
    pair(sas)
    place = Place(OWN, MOVED, True, 10500, 10500)
    sas.move(2, PEER, place, 1500, verified=False)
    assert kernel.out().outer == (OWN, THERE)  # type: ignore[union-attr]
    # New keys for an unverified place wait for it as well; the old ones go on.
    install(sas, "out", 12, place=place, usable=False)
    assert kernel.out().spi == 2  # type: ignore[union-attr]
    sas.move(12, PEER, place, 1400, verified=False)
    assert kernel.out().spi == 2  # type: ignore[union-attr]
    sas.move(12, PEER, place, 1500, verified=True)
    assert kernel.out().spi == 12  # type: ignore[union-attr]
    assert kernel.out().outer == (OWN, MOVED)  # type: ignore[union-attr]


def test_a_failed_move_leaves_everything_as_it_was(kernel: Kernel, sas: KernelSas) -> None:
    pair(sas)
    kernel.refuse = OSError(errno.ENOBUFS, "No buffer space available")
    with pytest.raises(DataPlaneError, match="No buffer space"):
        sas.move(2, PEER, Place(OWN, MOVED, True, 1, 2), 1500, verified=True)
    kernel.refuse = None
    assert sas.count(0.0)[0][0].place == PLACE
    sas.move(2, PEER, Place(OWN, MOVED, True, 1, 2), 1500, verified=True)
    assert (MOVED, 2) in kernel.states


def test_the_same_keys_go_on_and_used_ones_are_refused(kernel: Kernel, sas: KernelSas) -> None:
    pair(sas)
    kernel.calls.clear()
    install(sas, "out", 2, place=Place(OWN, MOVED, True, 10500, 10500))
    assert "add" not in kernel.calls
    assert kernel.states[MOVED, 2].sequence.sent == SEQUENCE_SKIP
    with pytest.raises(DataPlaneError, match="in use"):
        install(sas, "out", 12, key=(2).to_bytes(20))
    install(sas, "out", 2, key=b"k" * 20)
    assert kernel.states[THERE, 2].sequence.sent == 0
    assert len(kernel.states) == 2


def test_two_peers_behind_one_address_with_one_spi(kernel: Kernel, sas: KernelSas) -> None:
    pair(sas)
    with pytest.raises(DataPlaneError, match="another peer"):
        install(sas, "out", 2, OTHER, key=b"o" * 20)
    assert not sas.carries(OTHER)
    assert kernel.out(OTHER) is None


def test_a_refused_association_leaves_nothing_to_send_by(kernel: Kernel, sas: KernelSas) -> None:
    kernel.refuse = OSError(errno.ENOSYS, "Requested AEAD algorithm not found")
    with pytest.raises(DataPlaneError, match="AEAD algorithm not found") as refused:
        install(sas, "out", 2)
    assert "doctor" in refused.value.hint
    assert kernel.out() is None
    with pytest.raises(DataPlaneError, match="no outbound"):
        sas.move(2, PEER, PLACE, 1500, verified=True)


def test_first_data_is_told_once(kernel: Kernel, sas: KernelSas) -> None:
    pair(sas)
    heard, again_s = sas.look(0.0)
    assert heard == []
    assert again_s is not None
    kernel.packets[OWN, 1] = 1
    heard, again_s = sas.look(0.1)
    assert [sa.spi for sa in heard] == [1]
    assert again_s is None
    assert sas.look(0.2) == ([], None)
    assert sas.count(0.3)[1] == []
    assert not sas.hear(heard[0])


def test_looking_for_data_ends(kernel: Kernel, sas: KernelSas) -> None:
    pair(sas)
    waited, looks = 0.05, 0
    while (again_s := sas.look(waited)[1]) is not None:
        waited += again_s
        looks += 1
    assert looks < 10
    assert waited <= LAST_LOOK_S
    # Later it is found with the other counters, or told by the kernel.
    kernel.packets[OWN, 1] = 1
    assert [sa.spi for sa in sas.count(9.0)[1]] == [1]
    sa = sas.inbound(1, kernel.states[OWN, 1].reqid)
    assert sa is not None
    assert sas.inbound(1, 99) is None


@pytest.mark.parametrize("suite", ESP_SUITES)
def test_the_mtu_inside_fits_the_path(suite: int) -> None:
    known = ESP_SUITES[suite]
    for version, udp in ((4, True), (4, False), (6, True), (6, False)):
        for path in range(1400, 1500):
            inside = inner_mtu(path, suite, version=version, udp=udp)
            block = 16 if suite in (8, 9) else 4
            padded = -(-(inside - 40 + 2) // block) * block
            outer = {4: 20, 6: 40}[version] + 8 * udp
            sealed = outer + 8 + known.iv_length + padded + known.icv_length
            assert path - block < sealed <= path
        assert inner_mtu(576, suite, version=version, udp=udp) == 1280


def test_every_suite_has_a_name_in_the_kernel() -> None:
    found = trials()
    assert set(found) == {suite.name for suite in ESP_SUITES.values()}
    assert found["AES-128-CBC-SHA256"].icv_bits == 128
    assert found["AES-128-GCM-8"].icv_bits == 64
    assert found["ChaCha20-Poly1305"].encryption == "rfc7539esp(chacha20,poly1305)"
    assert b"\x01" * 16 not in repr(found).encode()
    for suite, key in ((99, b""), (13, bytes(16)), (CHACHA20_POLY1305, bytes(32))):
        with pytest.raises(DataPlaneError):
            algorithms(suite, key, b"")
