"""What services a machine offers, and on what terms, as its configuration has it."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from hipgw.config.schema import Config
from hipgw.daemon.machine_settings import registrar_config
from hipgw.identity.lsi import LsiTable
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.protocol.nat.config import RegistrarConfig
from hipgw.protocol.path import Transport
from hipgw.protocol.registration import ServiceType

FRIEND, STRANGER = IPv6Address("2001:21::1"), IPv6Address("2001:21::2")


def settings(tmp_path: Path, **tables: Any) -> RegistrarConfig | None:
    (tmp_path / "key.pem").touch()
    peer = {"name": "friend", "hit": str(FRIEND), "addresses": ["192.0.2.1"]}
    config = Config.model_validate(
        {"identity": {"key_file": str(tmp_path / "key.pem")}, "peer": [peer], **tables}
    )
    known = Peer("friend", FRIEND, (), True, 10500, IPv4Address("1.0.0.1"))
    return registrar_config(config, PeerDirectory([known], LsiTable()))


def test_a_mobile_router(tmp_path: Path) -> None:
    table = {
        "clients": ["friend"],
        "min_lifetime_s": 20,
        "max_lifetime_s": 200,
        "clients_max": 5,
        "correspondents_per_client": 6,
        "flows_max": 7,
        "carrier_outside": "udp",
        "tickets": False,
    }
    found = settings(tmp_path, mobile_router=table)
    assert found is not None
    assert found.services == (ServiceType.MOBILE_ROUTER,)
    router, terms = found.mobile_router, found.mobile_router_terms
    assert router is not None
    assert terms is not None
    assert (router.flows_max, router.flows_per_client) == (7, 6)
    assert (router.outside, router.tickets) == (Transport.UDP, False)
    assert (terms.min_lifetime_s, terms.max_lifetime_s, terms.clients_max) == (20, 200, 5)
    assert terms.allow(FRIEND)
    assert not terms.allow(STRANGER)


@pytest.mark.parametrize(
    ("carrier", "outside"), [("same", None), ("plain", Transport.RAW), ("udp", Transport.UDP)]
)
def test_what_carries_packets_outside(
    tmp_path: Path, carrier: str, outside: Transport | None
) -> None:
    found = settings(tmp_path, mobile_router={"carrier_outside": carrier})
    assert found is not None
    assert found.mobile_router is not None
    assert found.mobile_router.outside is outside


def test_each_service_has_terms_of_its_own(tmp_path: Path) -> None:
    found = settings(
        tmp_path, relay={"clients": ["friend"]}, rvs={}, mobile_router={"max_lifetime_s": 300}
    )
    assert found is not None
    assert set(found.services) == {
        *(ServiceType.RELAY_UDP_HIP, ServiceType.RELAY_UDP_ESP),
        *(ServiceType.RENDEZVOUS, ServiceType.MOBILE_ROUTER),
    }
    terms = found.mobile_router_terms
    assert found.rendezvous is not None
    assert terms is not None
    assert [one.allow(STRANGER) for one in (found, found.rendezvous, terms)] == [False, True, True]
    assert [one.max_lifetime_s for one in (found, found.rendezvous, terms)] == [600, 3600, 300]


def test_without_any_service_there_is_no_registrar(tmp_path: Path) -> None:
    assert settings(tmp_path, host={}) is None
    found = settings(tmp_path, rvs={})
    assert found is not None
    assert found.services == (ServiceType.RENDEZVOUS,)
    assert found.mobile_router is None
