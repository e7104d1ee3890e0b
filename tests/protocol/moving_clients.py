"""A mobile router with one client, and a correspondent outside, for the tests of them."""

from ipaddress import ip_address

from hipgw.protocol.effects import ForwardHip
from hipgw.protocol.path import Transport
from hipgw.wire.parameters import (
    EspInfoNoSig,
    EspInfoNoSigOptional,
)
from protocol.moving import Moving, router_config
from protocol.network import Node, parse

ROUTER, CLIENT, CLIENT_2, PEER = "10.1.0.1", "10.1.0.10", "10.1.0.11", "192.0.2.9"
HERE, THERE, ELSEWHERE = "198.51.100.1", "203.0.113.1", "203.0.113.77"
ELSEWHERE_2 = "203.0.113.78"


def moving(
    transport: Transport = Transport.RAW, **terms: object
) -> tuple[Moving, Node, Node, Node]:
    """A router with a client, and a correspondent outside."""
    network = Moving(transport=transport)
    router = network.router("router", ROUTER, [HERE], 1, config=router_config(**terms))
    client = network.host("client", CLIENT, 2, "router")
    peer = network.host("peer", PEER, 3)
    network.register(client, router)
    return network, router, client, peer


def updates(network: Moving, kind: type) -> list[ForwardHip]:
    return [one for _name, one in network.forwarded if parse(one.data).get(kind) is not None]


def leave(network: Moving, client: Node) -> None:
    """A client goes elsewhere, where there is no router."""
    network.where.pop(client.address)
    network.where[ip_address(ELSEWHERE)] = ""
    network.readdress(client, ELSEWHERE)
    network.run(3.0)


def restarted(network: Moving, router: Node, **terms: object) -> Node:
    """Another process at the same place, which knows nothing but the key."""
    network.routers.pop(router.name)
    return network.router(router.name, ROUTER, [HERE], 1, config=router_config(**terms))


def has_critical(data: bytes) -> bool:
    hint = parse(data).get(EspInfoNoSig)
    return hint is not None and not isinstance(hint, EspInfoNoSigOptional)
