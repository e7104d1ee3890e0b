"""Rules that join several keys of hipgw.toml; each problem is laid at the key to be changed."""

from collections.abc import Hashable, Iterable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from hipgw.config.endbox_consistency import ownership_problems, static_problems
from hipgw.config.mobile_router_consistency import mobile_router_problems
from hipgw.config.names import (
    CompatName,
    DhtStoreName,
    EspBackend,
    HipVersionName,
    NatModeName,
    ResolverIntegration,
)
from hipgw.config.problems import InconsistentError, Problem, did_you_mean
from hipgw.identity.hit import hit_version
from hipgw.identity.lsi import LSI_PREFIX
from hipgw.protocol.path import Transport

if TYPE_CHECKING:
    from hipgw.config.schema import (
        Config,
        DhtConfig,
        EndboxConfig,
        EspConfig,
        HipConfig,
        HipV1Config,
        NamingConfig,
        PeerConfig,
        RelayConfig,
    )
    from hipgw.config.tables.registrar import RegistrarTable

_LEAST_LIFETIMES = {
    "hip.keepalive_s": 1,
    "esp.rekey_s": 1,
    "esp.rekey_bytes": 65536,
    "esp.rekey_packets": 1000,
}
"""More often would be all that a machine does."""
_PORTS = 65536
_DNS_PORT = 53
_LEAST_PATH_MTU = 576
"""What every IPv4 host has to accept (RFC 791 §3.1)."""


def check_peer(peer: "PeerConfig") -> None:
    """Raise InconsistentError for a peer that contradicts itself."""
    problems = []
    if peer.transport is Transport.RAW and "port" in peer.model_fields_set:
        problems.append(
            Problem(
                "port",
                'has no meaning with transport = "raw"',
                "IP protocols 139 and 50 have no ports; leave it out",
            )
        )
    if peer.hit_v1 is not None and hit_version(peer.hit) == 1:
        # PeerConfig.hits would have one only, so nothing else can be said about this peer.
        raise InconsistentError(
            [Problem("hit_v1", "stands beside a hit of version 1 already", "leave one out")]
        )
    problems += [
        Problem(
            f"versions[{index}]",
            f"is {version.value!r}, for which this peer has no HIT",
            "write its version 1 HIT under 'hit_v1'"
            if version is HipVersionName.V1
            else "write its version 2 HIT under 'hit', and this one under 'hit_v1'",
        )
        for index, version in enumerate(peer.versions or ())
        if version not in peer.hits
    ]
    wanted = peer.compat.version if peer.compat is not None else None
    if peer.compat is not None and wanted is not None and wanted not in peer.hits:
        what = (
            f"is {peer.compat.value!r}, which speaks {wanted.value} only, and has no HIT of it here"
        )
        problems.append(Problem("compat", what, "leave it out, or write the peer's other HIT"))
    if problems:
        raise InconsistentError(problems)


def check_hip_v1(table: "HipV1Config") -> None:
    """Raise InconsistentError for a profile that is none of version 1."""
    if table.compat not in (CompatName.NONE, CompatName.OPENHIP):
        what = f"is {table.compat.value!r}, which does not speak version 1"
        raise InconsistentError([Problem("compat", what, "write 'openhip' or 'none'")])


def check_endbox(endbox: "EndboxConfig") -> None:
    """Raise InconsistentError for an endbox whose interfaces collide."""
    problems = []
    if endbox.bridge == endbox.interface:
        problems.append(
            Problem("bridge", f"is {endbox.bridge!r}, the same as interface", "choose two names")
        )
    problems += [
        Problem(
            f"ports[{index}]",
            f"is {port!r}, which hipgw makes itself",
            "list the machine's LAN interfaces here, such as eth1",
        )
        for index, port in enumerate(endbox.ports)
        if port in (endbox.interface, endbox.bridge)
    ]
    if endbox.peers == ():
        problems.append(
            Problem("peers", "is empty", "leave it out to share the LAN with every peer")
        )
    problems += static_problems(endbox)
    if problems:
        raise InconsistentError(problems)


def check_naming(naming: "NamingConfig") -> None:
    """Raise InconsistentError for times that contradict each other."""
    if naming.ttl_max_s < naming.ttl_min_s:
        problem = Problem(
            "ttl_max_s",
            f"is {naming.ttl_max_s:g}, less than ttl_min_s ({naming.ttl_min_s:g})",
            f"write {naming.ttl_min_s:g} or more",
        )
        raise InconsistentError([problem])


def check_relay(relay: "RelayConfig") -> None:
    """Raise InconsistentError for a relay whose figures contradict each other."""
    problems = []
    if relay.first_port + relay.ports > _PORTS:
        problems.append(
            Problem(
                "ports",
                f"is {relay.ports}, more than there are from {relay.first_port} on",
                f"write {_PORTS - relay.first_port} or less, or a lower first_port",
            )
        )
    versions = [address.version for address in relay.addresses]
    if len(set(versions)) < len(versions):
        problems.append(
            Problem("addresses", f"has two of IPv{versions[0]}", "one of each family is used")
        )
    if problems:
        raise InconsistentError(problems)


def check_lifetime_range(service: "RegistrarTable") -> None:
    """Raise InconsistentError for lifetimes that contradict each other."""
    longest, shortest = service.max_lifetime_s, service.min_lifetime_s
    if longest < shortest:
        what = f"is {longest:g}, less than min_lifetime_s ({shortest:g})"
        raise InconsistentError([Problem("max_lifetime_s", what, f"write {shortest:g} or more")])


def check_hip(hip: "HipConfig", esp: "EspConfig") -> None:
    """Raise InconsistentError for figures that contradict each other."""
    problems = []
    if hip.puzzle_difficulty_max < hip.puzzle_difficulty:
        problems.append(
            Problem(
                "hip.puzzle_difficulty_max",
                f"is {hip.puzzle_difficulty_max}, less than puzzle_difficulty "
                f"({hip.puzzle_difficulty})",
                f"write {hip.puzzle_difficulty} or more",
            )
        )
    if 0 < esp.path_mtu < _LEAST_PATH_MTU:
        problems.append(
            Problem(
                "esp.path_mtu",
                f"is {esp.path_mtu}; it has to be 0 or at least {_LEAST_PATH_MTU}",
                "0 takes the MTU from the route",
            )
        )
    if problems:
        raise InconsistentError(problems)


def check_lifetimes(hip: "HipConfig", esp: "EspConfig") -> None:
    """Raise InconsistentError for what would happen too often."""
    tables = {"hip": hip, "esp": esp}
    problems = []
    for key, least in _LEAST_LIFETIMES.items():
        table, _, name = key.partition(".")
        value = getattr(tables[table], name)
        if 0 < value < least:
            what = f"is {value:g}; it has to be 0 or at least {least}"
            problems.append(Problem(key, what, "0 turns it off"))
    if problems:
        raise InconsistentError(problems)


def check_config(config: "Config") -> None:
    """Raise InconsistentError for tables that do not fit together."""
    problems = [
        *_repeated("name", [peer.name for peer in config.peers], config),
        *_repeated("hit", [peer.hit for peer in config.peers], config),
        *_repeated_hits(config),
        *_repeated("lsi", [peer.lsi for peer in config.peers], config),
        *_roles(config),
        *ownership_problems(config),
        *_host(config),
        *_relays(config),
        *_rendezvous(config),
        *mobile_router_problems(config),
        *_backend(config),
        *_stun(config),
        *_stun_checks(config),
        *_versions(config),
        *_dns(config),
    ]
    if problems:
        raise InconsistentError(problems)


def _backend(config: "Config") -> list[Problem]:
    if config.esp.backend is not EspBackend.KERNEL:
        return []
    lacking = {
        "endbox": "carries no Ethernet for",
        "relay": "passes no ESP on for",
        "mobile_router": "rewrites no SPIs for",
    }
    return [
        Problem(
            "esp.backend",
            f"is 'kernel', which {what} [{table}]",
            f"write 'engine', or leave [{table}] out",
        )
        for table, what in lacking.items()
        if getattr(config, table) is not None
    ]


def _dns(config: "Config") -> list[Problem]:
    """Names are answered with HITs and LSIs, which only the host role makes reachable."""
    dns = config.dns
    if dns is None:
        return []
    problems = []
    if config.host is None and dns.intercept and "intercept" in dns.model_fields_set:
        what = "is true, but nothing reaches HITs and LSIs without [host]"
        problems.append(Problem("dns.intercept", what, "add [host], or leave it out"))
    if dns.port != _DNS_PORT and dns.resolver is not ResolverIntegration.OFF:
        what = f"is {dns.port}, but the resolvers of programs ask at {_DNS_PORT} only"
        problems.append(Problem("dns.port", what, 'leave it out, or write dns.resolver = "off"'))
    problems += [
        Problem(
            f"dns.servers[{index}]",
            "is where hipgw itself answers (dns.listen)",
            "name the real name servers, or leave it out",
        )
        for index, server in enumerate(dns.servers)
        if dns.intercept and (server.address, server.port) == (dns.listen, dns.port)
    ]
    return problems


def _versions(config: "Config") -> list[Problem]:
    if config.esp.backend is EspBackend.KERNEL and config.speaks_v1:
        what = "is 'kernel', which carries no ESP of HIP version 1"
        return [Problem("esp.backend", what, "write 'engine', or leave version 1 out")]
    return []


def _stun(config: "Config") -> list[Problem]:
    """What else has to be on for STUN servers to be asked, and their answers to come in."""
    if not config.nat.stun_servers:
        return []
    problems = []
    if config.esp.backend is EspBackend.KERNEL:
        what = "cannot be asked with esp.backend = 'kernel', which takes their answers for ESP"
        problems.append(Problem("nat.stun_servers", what, "write 'engine', or leave them out"))
    if not config.mobility.enabled:
        what = "cannot be asked with mobility.enabled = false: own addresses are not known"
        problems.append(Problem("nat.stun_servers", what, "turn it on, or leave them out"))
    if not _checks(config):
        what = "are of no use without ICE-HIP-UDP (or ICE-STUN-UDP) in nat.modes"
        problems.append(Problem("nat.stun_servers", what, "add it, or leave them out"))
    return problems


def _stun_checks(config: "Config") -> list[Problem]:
    """Whether what was asked for in so many words can be."""
    wanted = "modes" in config.nat.model_fields_set
    if wanted and config.nat.modes != config.nat_modes:
        what = "lists ICE-STUN-UDP, and esp.backend = 'kernel' takes STUN for ESP"
        return [Problem("nat.modes", what, "write 'engine', or leave it out")]
    return []


def _checks(config: "Config") -> bool:
    """Whether there are connectivity checks of any kind."""
    return bool({NatModeName.ICE_HIP_UDP, NatModeName.ICE_STUN_UDP} & set(config.nat_modes))


def _repeated(key: str, values: "Iterable[Hashable | None]", config: "Config") -> list[Problem]:
    first: dict[Hashable, int] = {}
    problems = []
    for index, value in enumerate(values):
        if value is None:
            continue
        if value in first:
            other = config.peers[first[value]].name
            where = f"peer[{first[value]}]" + (f" ({other})" if key != "name" else "")
            problems.append(Problem(f"peer[{index}].{key}", f"{value} is that of {where} already"))
        first.setdefault(value, index)
    return problems


def _repeated_hits(config: "Config") -> list[Problem]:
    """A `hit_v1` may be that of no other peer, under whichever key."""
    holders = {peer.hit: index for index, peer in enumerate(config.peers)}
    problems = []
    for index, peer in enumerate(config.peers):
        if peer.hit_v1 is None:
            continue
        holder = holders.setdefault(peer.hit_v1, index)
        if holder != index:
            where = f"peer[{holder}] ({config.peers[holder].name})"
            problems.append(
                Problem(f"peer[{index}].hit_v1", f"{peer.hit_v1} is that of {where} already")
            )
    return problems


def _roles(config: "Config") -> list[Problem]:
    if not config.roles:
        return [
            Problem(
                "",
                "turns no role on",
                "add a [host], an [endbox], a [relay], an [rvs] or a [mobile_router] table",
            )
        ]
    if config.endbox is None:
        return []
    names = [peer.name for peer in config.peers]
    problems = [
        Problem(
            f"endbox.peers[{index}]",
            f"no [[peer]] is named {name!r}",
            did_you_mean(name, names)
            or (f"there are: {', '.join(names[:8])}" if names else "add a [[peer]] table for it"),
        )
        for index, name in enumerate(config.endbox.peers or ())
        if name not in names
    ]
    if not names and not problems and config.fleet is None:
        problems.append(
            Problem("endbox", "has nobody to share the LAN with", "add a [[peer]] table")
        )
    return problems


def _host(config: "Config") -> list[Problem]:
    if config.host is None:
        return []
    problems = []
    if config.endbox is not None:
        taken = (config.endbox.interface, config.endbox.bridge, *config.endbox.ports)
        if config.host.interface in taken:
            problems.append(
                Problem(
                    "host.interface",
                    f"{config.host.interface!r} is an interface of [endbox] already",
                    "choose two names",
                )
            )
    for index, peer in enumerate(config.peers):
        if peer.lsi is not None and peer.lsi == config.host.lsi:
            problems.append(Problem(f"peer[{index}].lsi", f"{peer.lsi} is that of [host] already"))
        # The host role routes the whole prefix into its own interface, so that packets
        # to such an address would come back to hipgw.
        problems += [
            Problem(
                f"peer[{index}].addresses[{position}]",
                f"{address} lies in {LSI_PREFIX}, which [host] uses for LSIs",
                "use another address of this peer",
            )
            for position, address in enumerate(peer.addresses)
            if isinstance(address, IPv4Address) and address in LSI_PREFIX
        ]
    return problems


def _relays(config: "Config") -> list[Problem]:
    """Relays that are named have to be there, and to be reached over UDP."""
    by_name = {peer.name: peer for peer in config.peers}
    # The fleet may have those that this machine uses itself, and clients.
    elsewhere = config.fleet is not None
    own = [(f"nat.relays[{index}]", name) for index, name in enumerate(config.nat.relays)]
    absent = [(key, name) for key, name in own if name not in by_name and elsewhere]
    named = [one for one in own if one not in absent]
    named += [
        (f"peer[{number}].relays[{index}]", name)
        for number, peer in enumerate(config.peers)
        for index, name in enumerate(peer.relays)
    ]
    clients = (config.relay.clients if config.relay is not None else None) or ()
    named += [
        (f"relay.clients[{index}]", name)
        for index, name in enumerate(clients)
        if name not in by_name and not elsewhere
    ]
    problems = [
        Problem(
            f"rvs.clients[{index}]",
            f"no [[peer]] is named {name!r}",
            did_you_mean(name, by_name) or "add a [[peer]] table for it",
        )
        for index, name in enumerate((config.rvs.clients if config.rvs is not None else ()) or ())
        if name not in by_name and not elsewhere
    ]
    problems += [
        Problem(
            f"peer[{number}].relays[{peer.relays.index(peer.name)}]",
            "is the peer itself",
            "name the relay that it is registered with, or leave it out",
        )
        for number, peer in enumerate(config.peers)
        if peer.name in peer.relays
    ]
    if not _checks(config):
        # A relay passes on nothing else (RFC 9028 §4.7.2).
        what = "is of no use without ICE-HIP-UDP (or ICE-STUN-UDP) in nat.modes"
        problems += [
            Problem(key, what, "add it, or leave the relay out")
            for key, _ in (*named, *absent)
            if not key.startswith("relay.")
        ]
    for key, name in named:
        peer = by_name.get(name)
        if peer is None:
            hint = did_you_mean(name, by_name) or "add a [[peer]] table for it"
            problems.append(Problem(key, f"no [[peer]] is named {name!r}", hint))
        elif not peer.addresses:
            problems.append(
                Problem(key, f"{name} has no addresses", "a relay is called at its addresses")
            )
        elif config.transport_of(peer) is not Transport.UDP:
            problems.append(
                Problem(
                    key,
                    f"{name} is reached by IP protocols 139 and 50",
                    'a relay works over UDP: give it transport = "udp"',
                )
            )
    if config.relay is not None and config.hip.port in config.relay.port_range:
        problems.append(
            Problem(
                "relay.first_port", f"the ports that are lent include hip.port {config.hip.port}"
            )
        )
    return problems


def check_dht(dht: "DhtConfig") -> None:
    """Raise InconsistentError if nobody could be asked, or for a store without a gateway."""
    problems = []
    if not dht.servers and not dht.gateway:
        problems.append(
            Problem(
                "servers",
                "is missing, and there is no gateway on this machine either",
                'write where the DHT is asked, such as ["192.0.2.1"], or turn on `gateway`',
            )
        )
    if dht.store is DhtStoreName.OPENDHT and not dht.proxies:
        problems.append(
            Problem(
                "proxies",
                "is empty: the ring cannot be reached",
                'write where a dhtnode has its proxy, such as ["127.0.0.1:8080"]',
            )
        )
    if dht.store is not DhtStoreName.OPENDHT and dht.proxies:
        problems.append(
            Problem(
                "proxies",
                "are not used: records are kept on this machine alone",
                'write store = "opendht", or leave them out',
            )
        )
    if dht.store is DhtStoreName.OPENDHT and not dht.gateway:
        problems.append(
            Problem("store", "is for gateways only", "turn on `gateway`, or leave it out")
        )
    if problems:
        raise InconsistentError(problems)


def _rendezvous(config: "Config") -> list[Problem]:
    """Servers that are named have to be there, and are relays to nobody who registers there."""
    by_name = {peer.name: peer for peer in config.peers}
    named = [
        (f"rendezvous.servers[{index}]", name)
        for index, name in enumerate(config.rendezvous.servers)
    ]
    problems = [
        Problem(
            key,
            f"{name} is one of nat.relays as well",
            "a machine is a client of a relay or of a rendezvous server (RFC 9028 §7.8): leave one "
            "of both out",
        )
        for key, name in named
        if name in config.nat.relays
    ]
    called = [
        (f"peer[{number}].rvs[{index}]", server, peer)
        for number, peer in enumerate(config.peers)
        for index, server in enumerate(peer.rvs)
        if isinstance(server, str)
    ]
    problems += [
        Problem(key, "is the peer itself", "name the server that it is registered with")
        for key, name, peer in called
        if name == peer.name
    ]
    problems += [
        Problem(key, f"{name} has no addresses", "write addresses of the server here instead")
        for key, name, peer in called
        if name != peer.name and name in by_name and not by_name[name].addresses
    ]
    for key, name in (*named, *((key, name) for key, name, _ in called)):
        fleet_may_have_it = config.fleet is not None and key.startswith("rendezvous.")
        if name not in by_name and not fleet_may_have_it:
            hint = did_you_mean(name, by_name) or "add a [[peer]] table for it"
            problems.append(Problem(key, f"no [[peer]] is named {name!r}", hint))
    return problems
