from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.errors import IdentityError
from hipgw.identity.lsi import LSI_PREFIX, LsiTable, default_lsi, is_lsi

BASE = int(IPv6Address("2001:21::"))
hits = st.integers(0, 2**96 - 1).map(lambda low: IPv6Address(BASE + low))


def hit(low: int) -> IPv6Address:
    return IPv6Address(BASE + low)


@pytest.mark.parametrize(
    ("low", "lsi"),
    [
        (0xABCDEF, "1.171.205.239"),
        (0x1_000007, "1.0.0.7"),
        (0, "1.0.0.1"),
        (0xFFFFFF, "1.255.255.254"),
        (0xFF, "1.0.0.255"),
    ],
)
def test_the_low_24_bits_of_the_hit_make_the_lsi(low: int, lsi: str) -> None:
    assert default_lsi(hit(low)) == IPv4Address(lsi)


@given(hits)
def test_a_default_lsi_can_be_an_address(address: IPv6Address) -> None:
    assert is_lsi(default_lsi(address))


@pytest.mark.parametrize("address", ["1.0.0.0", "1.255.255.255", "0.255.255.255", "2.0.0.1"])
def test_the_ends_of_the_prefix_are_no_lsis(address: str) -> None:
    assert not is_lsi(IPv4Address(address))


def test_an_ipv6_address_is_no_lsi() -> None:
    assert not is_lsi(IPv6Address("::1.0.0.1"))


@given(st.lists(hits | st.integers(0, 20).map(lambda n: hit(n << 24)), max_size=60))
def test_lsis_and_hits_stand_one_to_one(addresses: list[IPv6Address]) -> None:
    table, again = LsiTable(), LsiTable()
    given_out = [table.assign(address) for address in addresses]
    assert given_out == [again.assign(address) for address in addresses]
    assert len(table) == len(set(addresses)) == len(set(given_out))
    for address, lsi in zip(addresses, given_out, strict=True):
        assert is_lsi(lsi)
        assert table.hit_of(lsi) == address
        assert table.lsi_of(address) == lsi
    assert dict(table) == {lsi: address for address, lsi in zip(addresses, given_out, strict=True)}


def test_a_collision_takes_the_next_free_address() -> None:
    table = LsiTable()
    lsis = [str(table.assign(hit(7 + (n << 24)))) for n in range(3)]
    assert lsis == ["1.0.0.7", "1.0.0.8", "1.0.0.9"]
    assert str(table.assign(hit(8))) == "1.0.0.10"


def test_a_collision_at_the_end_starts_over() -> None:
    table = LsiTable()
    lsis = [str(table.assign(hit(0xFFFFFE + (n << 24)))) for n in range(3)]
    assert lsis == ["1.255.255.254", "1.0.0.1", "1.0.0.2"]


def test_a_configured_lsi_is_given_or_refused() -> None:
    table = LsiTable()
    assert table.assign(hit(7), IPv4Address("1.2.3.4")) == IPv4Address("1.2.3.4")
    assert table.assign(hit(7)) == IPv4Address("1.2.3.4")
    with pytest.raises(IdentityError, match="already"):
        table.assign(hit(9), IPv4Address("1.2.3.4"))
    for wrong in ("10.0.0.1", "1.0.0.0", "1.255.255.255"):
        with pytest.raises(IdentityError, match="cannot be an LSI"):
            table.assign(hit(9), IPv4Address(wrong))
    assert len(table) == 1


def test_a_hit_can_move_to_a_configured_lsi() -> None:
    table = LsiTable()
    old = table.assign(hit(7))
    table.assign(hit(7), IPv4Address("1.2.3.4"))
    assert table.hit_of(old) is None
    assert table.lsi_of(hit(7)) == IPv4Address("1.2.3.4")
    assert len(table) == 1


def test_a_removed_hit_frees_its_lsi() -> None:
    table = LsiTable()
    table.assign(hit(7))
    table.remove(hit(7))
    table.remove(hit(7))
    assert table.lsi_of(hit(7)) is None
    assert table.hit_of(IPv4Address("1.0.0.7")) is None
    assert str(table.assign(hit(7 + (1 << 24)))) == "1.0.0.7"


def test_the_table_is_bounded() -> None:
    table = LsiTable(limit=3)
    for n in range(3):
        table.assign(hit(n + 1))
    with pytest.raises(IdentityError, match="all 3 LSIs"):
        table.assign(hit(9))
    with pytest.raises(IdentityError, match="all 3 LSIs"):
        table.assign(hit(9), IPv4Address("1.2.3.4"))
    assert str(table.assign(hit(2))) == "1.0.0.2"
    assert table.assign(hit(2), IPv4Address("1.2.3.4")) == IPv4Address("1.2.3.4")
    table.remove(hit(1))
    assert table.assign(hit(9)) in LSI_PREFIX


def test_the_table_can_change_while_it_is_walked() -> None:
    table = LsiTable()
    for n in range(5):
        table.assign(hit(n + 1))
    for _, address in table:
        table.remove(address)
    assert len(table) == 0
