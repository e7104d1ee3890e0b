"""What the cryptography of a base exchange costs, operation by operation.

Run with: pytest --benchmark-enable bench/micro/test_bench_identity.py
"""

from collections.abc import Iterator
from ipaddress import IPv6Address
from itertools import cycle

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hipgw.identity.ciphers import decrypt_parameters, encrypt_parameters
from hipgw.identity.dh import DhGroup, DhKeyPair
from hipgw.identity.hit import derive_hit
from hipgw.identity.host_identity import KEY_KINDS, HostIdentity, KeyKind, LocalIdentity
from hipgw.identity.keymat import Keymat, draw_esp_keys, draw_hip_keys
from hipgw.identity.puzzle import puzzle_prefix, search, verify_puzzle
from hipgw.identity.rhash import rhash

PACKET = bytes(range(256)) * 3
"""As long as an R1 with an RSA-2048 Host Identity is, about."""

LOCAL, PEER = IPv6Address("2001:21::1"), IPv6Address("2001:21::2")
SUITES = {"sha256": 1, "sha384": 2, "cshake128": 5}


@pytest.fixture(scope="module")
def identities() -> dict[str, LocalIdentity]:
    return {kind: LocalIdentity.generate(kind) for kind in KEY_KINDS}


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_sign(
    benchmark: BenchmarkFixture, identities: dict[str, LocalIdentity], kind: KeyKind
) -> None:
    signature = benchmark(identities[kind].sign, PACKET)
    assert identities[kind].public.verify(PACKET, signature)


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_verify(
    benchmark: BenchmarkFixture, identities: dict[str, LocalIdentity], kind: KeyKind
) -> None:
    public = identities[kind].public
    assert benchmark(public.verify, PACKET, identities[kind].sign(PACKET))


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_read_host_identity_and_its_hit(
    benchmark: BenchmarkFixture, identities: dict[str, LocalIdentity], kind: KeyKind
) -> None:
    public = identities[kind].public
    read = benchmark(HostIdentity.from_wire, public.algorithm, public.encoded)
    assert read.hit == public.hit


@pytest.mark.parametrize("name", SUITES)
def test_derive_hit(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(derive_hit, SUITES[name], PACKET[:260]) == derive_hit(
        SUITES[name], PACKET[:260]
    )


@pytest.mark.parametrize("group", list(DhGroup), ids=lambda group: group.label)
def test_dh_generate(benchmark: BenchmarkFixture, group: DhGroup) -> None:
    assert benchmark(DhKeyPair.generate, group).public_value


@pytest.mark.parametrize("group", list(DhGroup), ids=lambda group: group.label)
def test_dh_derive(benchmark: BenchmarkFixture, group: DhGroup) -> None:
    ours = DhKeyPair.generate(group)
    peers: Iterator[bytes] = cycle(DhKeyPair.generate(group).public_value for _ in range(4))
    assert benchmark(lambda: ours.shared_secret(next(peers)))


@pytest.mark.parametrize("name", SUITES)
def test_keymat_to_esp_keys(benchmark: BenchmarkFixture, name: str) -> None:
    function = rhash(SUITES[name])
    i, j = bytes(function.digest_size), bytes(function.digest_size)

    def all_keys() -> int:
        keymat = Keymat(PACKET[:48], i, j, LOCAL, PEER, function)
        draw_hip_keys(keymat, LOCAL, PEER, 4, function)
        draw_esp_keys(keymat, LOCAL, PEER, 13)
        return keymat.index

    assert benchmark(all_keys) == 2 * (32 + function.digest_size) + 2 * 20


@pytest.mark.parametrize("name", SUITES)
def test_mac(benchmark: BenchmarkFixture, name: str) -> None:
    function = rhash(SUITES[name])
    assert len(benchmark(function.mac, bytes(32), PACKET)) == function.digest_size


@pytest.mark.parametrize("name", SUITES)
def test_verify_puzzle(benchmark: BenchmarkFixture, name: str) -> None:
    function = rhash(SUITES[name])
    i = bytes(function.digest_size)
    prefix = puzzle_prefix(i, LOCAL, PEER)
    j = search(name, prefix, len(i), 8, i, 1 << 16)
    assert j is not None
    assert benchmark(verify_puzzle, function, 8, i, LOCAL, PEER, j)


def test_encrypt_host_id(benchmark: BenchmarkFixture) -> None:
    key = bytes(32)
    sealed = benchmark(encrypt_parameters, 4, key, PACKET[:272], bytes)
    assert len(sealed) == 16 + 272


def test_decrypt_host_id(benchmark: BenchmarkFixture) -> None:
    # A HOST_ID of 272 octets: 705, length, contents.
    host_id = (705).to_bytes(2, "big") + (268).to_bytes(2, "big") + PACKET[:268]
    sealed = encrypt_parameters(4, bytes(32), host_id, bytes)
    assert benchmark(decrypt_parameters, 4, bytes(32), sealed) == host_id
