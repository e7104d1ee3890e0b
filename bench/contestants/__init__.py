"""What is measured: the plain path, hipgw, and other tunnels.

All of them connect the same way: LAN host, gateway, router, gateway, LAN host, one underlay MTU of
1500. Tunnels that bridge (hipgw endbox, fastd, tinc, OpenVPN) are measured between the LAN hosts;
so are those that route (WireGuard, strongSwan). hipgw's host role has no LAN: it is measured
between the gateways, which is one hop less on each side, and so are the plain path and WireGuard a
second time, under the names that end in "-host".
"""

from contestants.base import Contestant, Ends
from contestants.fastd import Fastd, FastdNull
from contestants.openvpn import OpenVpn
from contestants.ours import Endbox, EndboxCbc, EndboxChacha, HostRole, Plain, PlainHost
from contestants.pipe import Pipe
from contestants.strongswan import StrongSwan
from contestants.tinc import Tinc
from contestants.wireguard import WireguardGo, WireguardGoHost, built_elsewhere

__all__ = ["ALL", "Contestant", "Ends", "built_elsewhere"]

ALL: tuple[type[Contestant], ...] = (
    *(Plain, PlainHost, Pipe),
    *(Endbox, EndboxCbc, EndboxChacha, HostRole),
    *(WireguardGo, WireguardGoHost, Fastd, FastdNull, Tinc, OpenVpn, StrongSwan),
)
