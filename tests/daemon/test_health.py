"""What `hipgw status` finds wrong."""

from ipaddress import IPv6Address, ip_address

import pytest

from hipgw.config.schema import Config
from hipgw.control.api import HealthWarning
from hipgw.daemon.health import Health
from hipgw.identity.lsi import LsiTable
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.protocol.effects import RegistrationChanged
from hipgw.protocol.registration import RegistrationInfo, ServiceType

OWN = IPv6Address("2001:21:aaaa::1")
HUB = IPv6Address("2001:21:bbbb::1")
SITE = IPv6Address("2001:21:bbbb::2")
RENDEZVOUS, CONTROL, DATA = 1, 2, 3


def health(**tables: object) -> Health:
    config = Config.model_validate(
        {
            "identity": {"key_file": "host.pem"},
            "peer": [
                {"name": "hub", "hit": str(HUB), "addresses": ["192.0.2.1"]},
                {"name": "site", "hit": str(SITE), "addresses": ["192.0.2.2"]},
            ],
            **tables,
        }
    )
    lsis = LsiTable()
    peers = [
        Peer(one.name, one.hit, one.addresses, udp=True, port=10500, lsi=lsis.assign(one.hit))
        for one in config.peers
    ]
    return Health(config, PeerDirectory(peers, lsis))


def client_of(health: Health, **options: object) -> list[HealthWarning]:
    state: dict[str, object] = {
        "up": [HUB, SITE],
        "has_address": True,
        "registrations": [],
        "failures": {},
        **options,
    }
    return health.warnings(**state)  # type: ignore[arg-type]


def registered(reg_type: int, *, registrar: bool = False) -> RegistrationInfo:
    mapped = (ip_address("198.51.100.1"), 10500)
    return RegistrationInfo(
        peer_hit=HUB,
        registrar=registrar,
        reg_type=reg_type,
        lifetime_s=120.0,
        expires=120.0,
        mapped=mapped,
        relayed=(),
    )


def changed(reason: str, lifetime_s: float = 0.0) -> RegistrationChanged:
    return RegistrationChanged(OWN, HUB, False, CONTROL, lifetime_s, reason)


def test_a_machine_without_addresses_is_not_well() -> None:
    (warning,) = client_of(health(host={}), has_address=False)
    assert warning["code"] == "no_address"
    assert warning["severity"] == "warning"
    assert client_of(health(host={})) == []
    assert client_of(health(host={}, mobility={"enabled": False}), has_address=False) == []


def test_behind_a_router_without_a_network() -> None:
    (warning,) = client_of(health(host={}), cut_off=True)
    assert warning["code"] == "router_without_network"


def test_endbox_peers_have_to_be_there() -> None:
    (warning,) = client_of(health(endbox={}), up=[HUB], failures={SITE: "no answer to I1"})
    assert (warning["code"], warning["hint"]) == ("peer_down", "no answer to I1")
    assert client_of(health(host={}), up=[]) == []


@pytest.mark.parametrize(
    ("in_force", "missing"),
    [
        ([], "control and data"),
        ([registered(CONTROL)], "data"),
        ([registered(CONTROL, registrar=True), registered(DATA)], "control"),
    ],
)
def test_a_client_has_to_be_registered(in_force: list[RegistrationInfo], missing: str) -> None:
    client = health(host={}, nat={"relays": ["hub"]})
    (warning,) = client_of(client, registrations=in_force)
    assert warning["code"] == "not_registered"
    assert warning["message"] == f"not registered with hub for {missing}"
    assert client_of(client, registrations=[registered(CONTROL), registered(DATA)]) == []


def test_a_mobile_host_has_to_be_registered() -> None:
    client = health(host={}, rendezvous={"servers": ["hub"]})
    (warning,) = client_of(client, registrations=[])
    assert warning["message"] == "not registered with hub for rendezvous"
    assert client_of(client, registrations=[registered(RENDEZVOUS)]) == []


def test_a_mobile_node_has_to_be_registered() -> None:
    client = health(host={}, mobile_node={"routers": ["hub"]})
    (warning,) = client_of(client, registrations=[])
    assert warning["message"] == "not registered with hub for being behind it"
    assert client_of(client, registrations=[registered(ServiceType.MOBILE_ROUTER)]) == []


def test_why_a_client_is_not_registered() -> None:
    client = health(host={}, nat={"relays": ["hub"], "services": ["control"]})

    def hint(**options: object) -> str:
        return client_of(client, **options)[0]["hint"]

    assert hint(up=[]) == "it was not reached yet"
    assert hint(up=[], failures={HUB: "no answer to I1"}) == "no answer to I1"
    assert hint() == "no answer yet"
    client.handle_event(changed("refused: no room"))
    assert hint() == "refused: no room"
    client.handle_event(changed("granted", lifetime_s=120.0))
    assert hint() == "no answer yet"
