import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.dh import (
    DEFAULT_DH_GROUPS,
    DhGroup,
    DhKeyPair,
    KijZeros,
    kij_octets,
)
from hipgw.identity.modp import (
    MODP_384,
    MODP_768,
    MODP_1536,
    MODP_2048,
    MODP_3072,
    MODP_6144,
    MODP_8192,
    ModpParameters,
)

VECTORS = json.loads((Path(__file__).parent / "rfc_vectors.json").read_text())
MODP = {DhGroup.MODP_1536: MODP_1536, DhGroup.MODP_2048: MODP_2048, DhGroup.MODP_3072: MODP_3072}
MODP_V1 = {
    DhGroup.MODP_384: MODP_384,
    DhGroup.MODP_768: MODP_768,
    DhGroup.MODP_6144: MODP_6144,
    DhGroup.MODP_8192: MODP_8192,
}
LENGTHS = {
    3: (192, 192),
    4: (384, 384),
    11: (256, 256),
    7: (64, 32),
    8: (96, 48),
    9: (132, 66),
    1: (48, 48),
    2: (96, 96),
    5: (768, 768),
    6: (1024, 1024),
}
PAIRS = {group: DhKeyPair.generate(group) for group in DhGroup}


def fixed(value: int):  # type: ignore[no-untyped-def]
    return lambda length: value.to_bytes(length, "big")


@pytest.mark.parametrize("case", VECTORS["rfc5903_ecdh"])
def test_ecdh_yields_the_vectors_of_rfc_5903(case: dict[str, str]) -> None:
    # A private value is drawn modulo the order less one, plus one.
    group = int(case["group"])
    initiator = DhKeyPair.generate(group, fixed(int(case["private_i"], 16) - 1))
    responder = DhKeyPair.generate(group, fixed(int(case["private_r"], 16) - 1))
    assert initiator.public_value.hex() == case["public_i"]
    assert responder.public_value.hex() == case["public_r"]
    assert initiator.shared_secret(responder.public_value).hex() == case["shared"]
    assert responder.shared_secret(initiator.public_value).hex() == case["shared"]


def pi_scaled(bits: int) -> int:
    """Return floor(2^bits * pi), by Machin's formula."""
    guard = 64
    one = 1 << bits + guard

    def arctan_inverse(x: int) -> int:
        term, total, n, sign = one // x, one // x, 1, -1
        while term:
            term //= x * x
            n += 2
            total += sign * (term // n)
            sign = -sign
        return total

    return 4 * (4 * arctan_inverse(5) - arctan_inverse(239)) >> guard


@pytest.mark.parametrize(
    ("parameters", "bits", "offset"),
    [
        (MODP_1536, 1536, 741804),
        (MODP_2048, 2048, 124476),
        (MODP_3072, 3072, 1690314),
        (MODP_6144, 6144, 929484),
        (MODP_8192, 8192, 4743158),
        # RFC 5201, appendices D and E.
        (MODP_384, 384, 5857),
        (MODP_768, 768, 149686),
    ],
)
def test_primes_are_those_that_rfc_3526_makes_from_pi(
    parameters: ModpParameters, bits: int, offset: int
) -> None:
    expected = 2**bits - 2 ** (bits - 64) - 1 + 2**64 * (pi_scaled(bits - 130) + offset)
    assert parameters.prime == expected
    assert parameters.length == bits // 8


@pytest.mark.parametrize("parameters", [*MODP.values(), *MODP_V1.values()])
def test_the_generator_is_in_the_subgroup_of_prime_order(parameters: ModpParameters) -> None:
    order = (parameters.prime - 1) // 2
    assert pow(parameters.generator, order, parameters.prime) == 1


@pytest.mark.parametrize("group", list(DhGroup))
def test_both_sides_agree_on_a_secret_of_full_length(group: DhGroup) -> None:
    ours, theirs = PAIRS[group], DhKeyPair.generate(group)
    public_length, secret_length = LENGTHS[group]
    secret = ours.shared_secret(theirs.public_value)
    assert secret == theirs.shared_secret(ours.public_value)
    assert len(ours.public_value) == len(theirs.public_value) == public_length
    assert len(secret) == secret_length
    assert ours.public_value != theirs.public_value


@pytest.mark.parametrize("group", list(DhGroup))
def test_the_same_random_octets_make_the_same_pair(group: DhGroup) -> None:
    first, second = (DhKeyPair.generate(group, lambda n: b"\x5a" * n) for _ in range(2))
    other = DhKeyPair.generate(group, lambda n: b"\x5b" * n)
    assert first.public_value == second.public_value != other.public_value


@pytest.mark.parametrize("group", list(MODP))
def test_modp_is_modular_exponentiation(group: DhGroup) -> None:
    parameters = MODP[group]
    length = parameters.exponent_bits // 8
    exponent = int.from_bytes(b"\x33" * length, "big") | 1 << parameters.exponent_bits - 1
    pair = DhKeyPair.generate(group, lambda n: b"\x33" * n)
    peer = pow(2, 12345, parameters.prime)
    assert pair.public_value == pow(2, exponent, parameters.prime).to_bytes(
        parameters.length, "big"
    )
    assert pair.shared_secret(peer.to_bytes(parameters.length, "big")) == pow(
        peer, exponent, parameters.prime
    ).to_bytes(parameters.length, "big")


@pytest.mark.parametrize("group", list(MODP))
def test_a_secret_with_leading_zeros_keeps_them(group: DhGroup) -> None:
    # A peer whose value is the inverse of ours to a small power shares 2^small with us.
    parameters = MODP[group]
    pair = DhKeyPair.generate(group, lambda n: bytes(n - 1) + b"\1")
    exponent = 1 | 1 << parameters.exponent_bits - 1
    order = (parameters.prime - 1) // 2
    peer = pow(4, pow(exponent, -1, order), parameters.prime)
    secret = pair.shared_secret(peer.to_bytes(parameters.length, "big"))
    assert secret == (4).to_bytes(parameters.length, "big")


@pytest.mark.parametrize("group", list(MODP))
def test_a_value_sent_without_its_leading_zeros_is_understood(group: DhGroup) -> None:
    pair = PAIRS[group]
    assert pair.shared_secret(b"\x04") == pair.shared_secret(
        b"\x04".rjust(MODP[group].length, b"\0")
    )


@pytest.mark.parametrize("group", list(MODP))
def test_modp_values_that_leak_or_weaken_are_refused(group: DhGroup) -> None:
    prime, length = MODP[group].prime, MODP[group].length
    refused = {0: "range", 1: "range", prime - 1: "range", prime: "range", prime + 4: "range"}
    non_square = next(n for n in range(2, 100) if pow(n, (prime - 1) // 2, prime) != 1)
    refused |= {non_square: "subgroup", prime - 4: "subgroup", 256**length - 1: "range"}
    for value, reason in refused.items():
        with pytest.raises(IdentityError, match=reason):
            PAIRS[group].shared_secret(value.to_bytes(length, "big"))
    for value in (b"", b"\x04".rjust(length + 1, b"\0")):
        with pytest.raises(IdentityError, match="octets"):
            PAIRS[group].shared_secret(value)


@pytest.mark.parametrize("group", [7, 8, 9])
def test_points_off_the_curve_are_refused(group: int) -> None:
    pair, peer = PAIRS[DhGroup(group)], DhKeyPair.generate(group).public_value
    half = len(peer) // 2
    bad_points = [
        peer[:-1] + bytes([peer[-1] ^ 1]),
        bytes(len(peer)),
        b"\xff" * len(peer),
        peer[half:] + peer[:half],
    ]
    for value in bad_points:
        with pytest.raises(IdentityError, match="not a point"):
            pair.shared_secret(value)
    for value in (b"", peer[:-1], b"\x04" + peer, b"\x02" + peer[:half]):
        with pytest.raises(IdentityError, match="octets"):
            pair.shared_secret(value)


@settings(max_examples=60, deadline=None)
@given(group=st.sampled_from(list(DhGroup)), value=st.binary(max_size=400))
@example(group=DhGroup.P_256, value=bytes(64))
@example(group=DhGroup.MODP_1536, value=bytes(192))
def test_no_public_value_does_more_than_be_refused(group: DhGroup, value: bytes) -> None:
    try:
        secret = PAIRS[group].shared_secret(value)
    except IdentityError as error:
        assert str(error)
    else:
        assert len(secret) == LENGTHS[group][1]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_public_value_of_the_right_length_does_more_than_be_refused(data: st.DataObject) -> None:
    group = data.draw(st.sampled_from(list(DhGroup)))
    length = LENGTHS[group][0]
    value = data.draw(st.binary(min_size=length, max_size=length))
    try:
        secret = PAIRS[group].shared_secret(value)
    except IdentityError as error:
        assert group.label in str(error)
    else:
        assert len(secret) == LENGTHS[group][1]


@pytest.mark.parametrize("group", [0, 10, 12, 13, 255, -1])
def test_other_groups_are_not_supported(group: int) -> None:
    with pytest.raises(IdentityError, match="not supported"):
        DhKeyPair.generate(group)


def test_groups_have_the_names_of_the_configuration() -> None:
    labels = [
        *("MODP-384", "MODP-768", "MODP-1536", "MODP-3072", "MODP-6144", "MODP-8192"),
        *("P-256", "P-384", "P-521", "MODP-2048"),
    ]
    assert [group.label for group in DhGroup] == labels
    assert [DhGroup.by_label(label) for label in labels] == list(DhGroup)
    with pytest.raises(IdentityError, match="X25519") as caught:
        DhGroup.by_label("X25519")
    assert "P-384" in caught.value.hint


def test_the_mandatory_group_is_offered() -> None:
    assert DhGroup.MODP_1536 in DEFAULT_DH_GROUPS


@pytest.mark.parametrize("group", list(DhGroup))
def test_a_pair_shows_no_private_value(group: DhGroup) -> None:
    assert repr(PAIRS[group]) == f"<DhKeyPair {group.label}>" == str(PAIRS[group])


def test_the_groups_of_v1_are_not_offered_by_default() -> None:
    assert not set(MODP_V1) & set(DEFAULT_DH_GROUPS)


@given(st.binary(min_size=1, max_size=192))
def test_leading_zeros_of_kij(secret: bytes) -> None:
    assert kij_octets(secret) == secret
    number = int.from_bytes(secret, "big")
    stripped = kij_octets(secret, KijZeros.STRIPPED)
    moved = kij_octets(secret, KijZeros.MOVED_BEHIND)
    assert stripped == number.to_bytes((number.bit_length() + 7) // 8, "big")
    assert moved.startswith(stripped)
    assert moved[len(stripped) :] == bytes(len(secret) - len(stripped))
