"""Which security associations have carried enough."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from hipgw.dataplane.backend import SecurityAssociation
from hipgw.roles.lifetimes import Limits, worn


def carried(packets: int, octets: int) -> SecurityAssociation:
    hit, address = IPv6Address("2001:21::1"), IPv4Address("192.0.2.1")
    return SecurityAssociation(
        *(1, "out", 13, hit, hit, address, address, 10500, 10500, True),
        *(packets, octets, packets, 0, 0, 0.5),
    )


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(0, 0), []),
        (Limits(100, 0), [True]),
        (Limits(101, 0), []),
        (Limits(0, 5000), [True]),
        (Limits(0, 5001), []),
        (Limits(101, 5000), [True]),
    ],
)
def test_either_limit_counts_and_zero_is_none(limits: Limits, expected: list[bool]) -> None:
    assert [True for _ in worn([carried(100, 5000)], limits)] == expected
