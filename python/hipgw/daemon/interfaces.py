"""Makes the interfaces of the roles and gives them to the data plane."""

import logging
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from hipgw.config.names import EspBackend
from hipgw.config.schema import Config, EndboxConfig, EspConfig, HostConfig
from hipgw.dataplane.backend import DataPlane
from hipgw.dataplane.esp_core import EspCoreDataPlane
from hipgw.dataplane.lan import LanSettings
from hipgw.errors import PlatformError
from hipgw.identity.hit import HIT_PREFIX, prefix_of
from hipgw.identity.lsi import LSI_PREFIX
from hipgw.platform import links, routes, tuntap
from hipgw.platform.journal import Journal
from hipgw.platform.lan_links import LanLinks
from hipgw.platform.source_routes import SourceRouteSettings
from hipgw.platform.steering import Steering
from hipgw.platform.underlay import UnderlaySettings
from hipgw.roles.endbox import SEGMENT

_log = logging.getLogger(__name__)

TUNNEL_OVERHEAD_OCTETS = 80
"""Outer IPv6 and UDP headers (48), and ESP (42), less the inner IPv6 header that BEET leaves out
(40), with room for the padding of CBC suites."""
IPV6_MTU_MIN = 1280
QUEUE_PACKETS = 1000


def host_mtu(path_mtu: int) -> int:
    """MTU of the host role's interface, so that what passes it needs no fragments outside."""
    return max(path_mtu - TUNNEL_OVERHEAD_OCTETS, IPV6_MTU_MIN)


def open_host(
    config: HostConfig,
    dataplane: DataPlane,
    hits: Sequence[IPv6Address],
    lsi: IPv4Address,
    path_mtu: int,
    esp: EspConfig,
    journal: Journal,
) -> tuntap.TunDevice:
    """Make the TUN with the own HITs and LSI, and the routes to all others. Raises PlatformError.

    *hits*: one for each version of HIP, the preferred one first.
    """
    hit = hits[0]
    by_kernel = esp.backend is EspBackend.KERNEL
    device = tuntap.open_tun(config.interface, vnet_hdr=not by_kernel)
    mtu = config.mtu or host_mtu(path_mtu)
    links.set_up(device.name, mtu=mtu, txqueuelen=QUEUE_PACKETS)
    for own in hits:
        links.add_address(device.name, own, 128)
        routes.add_route(prefix_of(own), device.name, own)
    if by_kernel:
        journal.kernel_esp(hit, HIT_PREFIX)
    else:
        # An LSI that leads nowhere would only make programs wait.
        links.add_address(device.name, lsi, 32)
        routes.add_route(LSI_PREFIX, device.name, lsi)
    dataplane.set_tun(
        device.fd,
        mtu=mtu,
        local_hit=hit,
        local_lsi=lsi,
        second_hit=next(iter(hits[1:]), None),
        vnet_hdr=device.vnet_hdr,
        copy_dscp=esp.copy_dscp,
        ecn=esp.ecn,
    )
    _log.info(
        "host interface is up",
        extra={"interface": device.name, "hit": str(hit), "lsi": str(lsi), "mtu": mtu},
    )
    return device


def open_endbox(
    config: EndboxConfig,
    dataplane: DataPlane,
    journal: Journal,
    esp: EspConfig,
    lan: LanSettings,
) -> tuntap.TunDevice:
    """Make the TAP and join it with the LAN ports in the bridge. Raises PlatformError."""
    device = tuntap.open_tap(config.interface)
    links.be_silent(device.name)
    links.set_up(device.name, mtu=config.mtu, txqueuelen=QUEUE_PACKETS)
    if not links.exists(config.bridge):
        journal.create_bridge(config.bridge)
        links.be_silent(config.bridge)
    links.enslave(device.name, config.bridge)  # ends with the interface
    for port in config.ports:
        if links.master_of(port) != config.bridge:
            journal.enslave(port, config.bridge)
    links.set_up(config.bridge)
    if links.bridged_frames_are_filtered():
        _log.info(
            "this machine's iptables rules see bridged packets too, and may drop them",
            extra={"bridge": config.bridge, "sysctl": "net.bridge.bridge-nf-call-iptables"},
        )
    dataplane.add_tap(
        device.fd,
        segment=SEGMENT,
        mtu=config.mtu,
        mss_clamp=config.mss_clamp,
        vnet_hdr=device.vnet_hdr,
        mac_limit=config.mac_limit,
        mac_age_s=config.mac_age_s,
        copy_dscp=esp.copy_dscp,
        ecn=esp.ecn,
    )
    if isinstance(dataplane, EspCoreDataPlane):  # no other carries Ethernet
        dataplane.set_lan(SEGMENT, lan, links.mac_of(device.name))
    _log.info(
        "endbox interface is up",
        extra={
            "interface": device.name,
            "bridge": config.bridge,
            "ports": ",".join(config.ports),
        },
    )
    return device


def lan_links(config: EndboxConfig) -> LanLinks:
    """The interfaces of an endbox's LAN."""
    return LanLinks(config.interface, config.bridge, config.ports, config.mtu)


def check_ports(config: Config) -> None:
    """Refuse a LAN port that is not there, and one by which a peer is reached.

    In the bridge that one would lose its addresses' use. To be called before any interface is made:
    who looks for the right name shall not be shown those of hipgw.

    Raises PlatformError.
    """
    ports = config.endbox.ports if config.endbox is not None else ()
    links.require(*ports)
    for peer in config.peers if ports else ():
        for address in peer.addresses:
            interface = routes.interface_to(address)
            if interface in ports:
                raise PlatformError(
                    f"The LAN port {interface} is the way to {peer.name} ({address}).",
                    hint="`endbox.ports` takes the interfaces of the LAN only; the way to the"
                    " peers has to be another one.",
                )


def underlay_settings(config: Config) -> UnderlaySettings:
    """Which own addresses may be used: never those of a role's interfaces."""
    mobility = config.mobility
    own = {config.host.interface} if config.host is not None else set()
    if config.endbox is not None:
        own |= {config.endbox.interface, config.endbox.bridge, *config.endbox.ports}
    return UnderlaySettings(
        interfaces=mobility.interfaces,
        ignored_interfaces=mobility.ignored_interfaces,
        preferred_interfaces=mobility.preferred_interfaces,
        ignored_addresses=mobility.ignored_addresses,
        own_interfaces=frozenset(own),
    )


def steering(config: Config, journal: Journal) -> Steering | None:
    """What makes packets leave by the interface of their address, if it is wanted."""
    if not config.mobility.source_routes:
        return None
    settings = SourceRouteSettings(
        config.mobility.route_table,
        config.hip.port,
        whole_packets=config.mobile_router is not None,
    )
    return Steering(settings, journal)


def smallest_path_mtu(config: Config) -> int:
    """The MTU to plan with for all peers: as configured, else the least of the routes to them."""
    if config.esp.path_mtu:
        return config.esp.path_mtu
    known = [path_mtu_to(config, address) for peer in config.peers for address in peer.addresses]
    return min(known, default=routes.DEFAULT_MTU)


def path_mtu_to(config: Config, remote: IPv4Address | IPv6Address) -> int:
    """Largest IP packet on the way to an address, as far as this machine knows by itself.

    What routers have told the kernel counts only if nobody looks after it here.
    """
    if config.esp.path_mtu:
        return config.esp.path_mtu
    if config.esp.discovers_path_mtu:
        return routes.configured_mtu(remote)
    return routes.route_mtu(remote)
