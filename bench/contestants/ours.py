"""What is no peer: the plain path, and hipgw."""

from typing import ClassVar

from contestants.base import Contestant, Ends, when_reached
from hipgw.lab import Lab
from hipgw.lab.topologies import endbox_pair, host_pair, plain_pair, underlay, underlay_address


class Plain(Contestant):
    """The same hosts and hops without a tunnel: what the machine can do."""

    name, prefix, note = "plain", "e2e", "routed, no tunnel"

    def start(self, lab: Lab) -> Ends:
        network = plain_pair(lab)
        return Ends(network.a, network.b, network.b4)


class PlainHost(Contestant):
    """The two gateways without a tunnel, for what is measured between these."""

    name, prefix, note = "plain-host", "e2e", "as above, gateway to gateway"
    between_gateways = True

    def start(self, lab: Lab) -> Ends:
        _, gateways = underlay(lab, 2)
        return when_reached(Ends(gateways[0], gateways[1], underlay_address(2, 4)))


class Endbox(Contestant):
    """hipgw bridging two LANs."""

    name, prefix, note = "endbox", "e2e", "L2, AES-128-GCM-16"
    suites: ClassVar[tuple[str, ...]] = ()
    """ESP suites to agree on; hipgw's own choice without any."""

    def start(self, lab: Lab) -> Ends:
        network = endbox_pair(lab, hip={"esp_suites": self.suites} if self.suites else {})
        network.start()
        one, two = network.sites
        return when_reached(Ends(one.lan, two.lan, two.lan4))


class EndboxCbc(Endbox):
    """The same with the suite that RFC 7402 makes mandatory."""

    name, note = "endbox-cbc", "L2, AES-128-CBC with HMAC-SHA-256"
    suites = ("AES-128-CBC-SHA256",)


class EndboxChacha(Endbox):
    """The same with what WireGuard uses."""

    name, note = "endbox-chacha", "L2, ChaCha20-Poly1305"
    suites = ("ChaCha20-Poly1305",)


class HostRole(Contestant):
    """hipgw between two hosts, by HIT."""

    name, prefix, note = "host", "e2e", "L3 by HIT, AES-128-GCM-16, gateway to gateway"
    between_gateways = True

    def start(self, lab: Lab) -> Ends:
        network = host_pair(lab)
        network.start()
        one, two = network.sites
        return when_reached(Ends(one.gateway, two.gateway, str(two.daemon.hit)))
