"""From hipgw.toml back to OpenHIP's files, for the nodes that still run OpenHIP.

The keys of hipgw.toml count; what no key has the meaning of comes from its `[openhip]` table.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from hipgw.config.fields import DHT_PORT
from hipgw.config.names import HipVersionName, SourceName
from hipgw.config.openhip.conf import HipConf, conf_of, default_of, tags
from hipgw.config.openhip.hosts import Host, Hosts
from hipgw.config.openhip.import_run import SELF
from hipgw.config.openhip.importing import master_interfaces
from hipgw.config.openhip.keys import KeyNumbers
from hipgw.config.openhip.mapping import TAGS
from hipgw.config.openhip.values import IPAddress
from hipgw.config.openhip.xml import Element
from hipgw.config.schema import Config, EndboxConfig, OpenHipConfig, OpenHipHostConfig, PeerConfig
from hipgw.errors import ConfigError

Keys = Callable[[Path], KeyNumbers]
"""Reads the numbers of a key file."""

CFG_LIBRARY = "/usr/local/lib/libhipcfgfiles.so"
"""What makes an endbox of OpenHIP, where it is installed by default."""
_PATTERN = set("*?[]")
_EVERYTHING_ELSE = IPv4Address("0.0.0.0")  # noqa: S104 (no address to listen at)
"""The legacy node of the default endbox."""


@dataclass(frozen=True, slots=True)
class Exported:
    """OpenHIP's files."""

    conf: HipConf
    known: Hosts
    mine: Hosts
    """With private keys."""


def export(
    config: Config,
    own_hit: IPv6Address,
    keys: Keys,
    *,
    name: str = "",
    default_name: str = "",
    multicast_key: bytes = b"",
) -> Exported:
    """OpenHIP's files for a configuration.

    `own_hit` is this machine's in version 1, whose key is `identity.key_file_v1`; `name` is what it
    is called from now on, `default_name` without one if the configuration was not imported. Raises
    ConfigError if there is nothing that OpenHIP could use.
    """
    kept = config.openhip or OpenHipConfig()
    records = {record.hit: record for record in kept.host}
    peers = {
        peer.hits[HipVersionName.V1]: peer
        for peer in config.peers
        if HipVersionName.V1 in peer.hits
    }
    if own_hit not in records:
        key_file = config.identity.key_file_v1 or config.identity.key_file
        records[own_hit] = _record(own_hit, name=default_name, key_file=key_file, listed=False)
    if name:
        records[own_hit] = records[own_hit].model_copy(update={"name": name})
    hosts: list[Host] = []
    mine: list[Host] = []
    for hit, record in records.items():
        if record.key_file is not None:
            own = _own(config, record, keys, chosen=hit == own_hit)
            mine.append(own)
            if record.listed or (hit == own_hit and config.endbox is not None):
                hosts.append(_shown(config, record, own, chosen=hit == own_hit))
        elif hit in peers:
            hosts.append(_peer(config, peers[hit], record))
    hosts += [
        _peer(config, peer, _record(hit)) for hit, peer in peers.items() if hit not in records
    ]
    known = Hosts(tuple(hosts), _pairs(config, own_hit, peers))
    conf = _conf(config, own_hit, mine, kept, multicast_key)
    return Exported(conf, known, Hosts(tuple(mine)))


def _record(hit: IPv6Address, **values: Any) -> OpenHipHostConfig:
    """What is kept of a host that OpenHIP's files did not have."""
    return OpenHipHostConfig.model_validate({"hit": str(hit), **values})


def _peer(config: Config, peer: PeerConfig, record: OpenHipHostConfig) -> Host:
    called = [one for addresses, _, _ in config.rendezvous_of(peer) for one in addresses]
    servers = tuple(dict.fromkeys((*called, *record.rendezvous)))
    # Before there was `peer.rvs`, servers stood among the addresses.
    own = [address for address in peer.addresses if address not in servers]
    return Host(
        **_fields(record) | {"rendezvous": servers},
        name=peer.name if record.name is None else record.name,
        lsi=peer.lsi or record.lsi,
        addresses=(*own, *record.addresses),
        legacy_nodes=_nodes(peer),
    )


def _own(config: Config, record: OpenHipHostConfig, keys: Keys, *, chosen: bool) -> Host:
    if record.key_file is None:
        raise ConfigError(f"{record.hit}: there is no key file for it")
    key = keys(record.key_file)
    length = record.length
    if "length" not in record.model_fields_set:
        modulus = key.numbers["N" if "N" in key.numbers else "P"]
        length = (modulus.bit_length() + 7) // 8
    host = Host(
        **_fields(record) | {"length": length, "algorithm": int(key.algorithm), "rendezvous": ()},
        name=record.name or "",
        lsi=record.lsi,
        key=key,
    )
    if chosen and config.host is not None and config.host.lsi is not None:
        host = replace(host, lsi=config.host.lsi)
    return host


def _shown(config: Config, record: OpenHipHostConfig, own: Host, *, chosen: bool) -> Host:
    """An own identity as the other machines know it."""
    nodes: tuple[IPv4Address, ...] = ()
    if chosen and config.endbox is not None:
        nodes = _nodes(config.endbox)
    return replace(
        own,
        key=None,
        r1_count=0,
        addresses=record.addresses,
        rendezvous=record.rendezvous,
        legacy_nodes=nodes,
    )


def _nodes(endbox: PeerConfig | EndboxConfig) -> tuple[IPv4Address, ...]:
    """The `<legacyNodesIp>` of an endbox."""
    if endbox.is_default_endbox and _EVERYTHING_ELSE not in endbox.legacy_nodes:
        return (*endbox.legacy_nodes, _EVERYTHING_ELSE)
    return endbox.legacy_nodes


def public_self(
    exported: Exported, own_hit: IPv6Address, addresses: tuple[IPAddress, ...]
) -> Hosts:
    """This machine alone, as `hitgen -publish` writes it for the other machines."""
    own = next(host for host in exported.mine.hosts if host.hit == own_hit)
    shown = next((host for host in exported.known.hosts if host.hit == own_hit), None)
    known = addresses or (shown.addresses if shown is not None else ())
    return Hosts((replace(shown or own, key=None, r1_count=0, addresses=known),))


def _fields(record: OpenHipHostConfig) -> dict[str, Any]:
    return {
        "hit": record.hit,
        "algorithm": record.algorithm,
        "length": record.length,
        "anonymous": record.anonymous,
        "incoming": record.incoming,
        "check_address": record.check_address,
        "r1_count": record.r1_count,
        "rendezvous": record.rendezvous,
    }


def _pairs(
    config: Config, own_hit: IPv6Address, peers: dict[IPv6Address, PeerConfig]
) -> tuple[tuple[IPv6Address, IPv6Address], ...]:
    endbox = config.endbox
    if endbox is None:
        return ()
    by_name = {peer.name: hit for hit, peer in peers.items()} | {SELF: own_hit}
    pairs = endbox.allowed_pairs
    if pairs is None:
        # OpenHIP knows no default: every pair has to be written down.
        return tuple((own_hit, hit) for hit in peers)
    found = []
    for first, second in pairs:
        hits = [by_name.get(end) or _hit(end) for end in (first, second)]
        if hits[0] is not None and hits[1] is not None:
            found.append((hits[0], hits[1]))
    return tuple(found)


def _hit(text: str) -> IPv6Address | None:
    """A HIT in a pair; None for the name of a peer that has none in version 1."""
    return IPv6Address(text) if ":" in text else None


def _conf(
    config: Config,
    own_hit: IPv6Address,
    mine: list[Host],
    kept: OpenHipConfig,
    multicast_key: bytes,
) -> HipConf:
    conf = _kept_conf(kept)
    changed: dict[str, Any] = {}
    for tag, mapped in TAGS.items():
        found = _value(config, mapped.key)
        if found is None:
            continue
        current, usual = found
        if tag in conf.given:
            forward = mapped.forward(getattr(conf, tag))
            if _plain(usual if forward is None else forward) == current:
                continue
        elif current == usual:
            continue
        changed[tag] = mapped.backward(current)
    chosen = next((host for host in mine if host.name == conf.preferred_hi), mine[0])
    renamed = bool(conf.preferred_hi) and all(host.name != conf.preferred_hi for host in mine)
    if chosen.hit != own_hit or renamed:
        changed["preferred_hi"] = next(host.name for host in mine if host.hit == own_hit)
    changed |= _naming_tags(config, conf)
    if config.endbox is not None:
        changed |= _endbox_tags(config, config.endbox, conf)
    changed |= _dht_tags(config, conf)
    changed |= _mobile_router_tags(config, conf)
    if multicast_key:
        changed["multicast_key"] = multicast_key
    # OpenHIP reads the group and its SPI before the key, which therefore stays last.
    given = (*conf.given, *(tag for tag in changed if tag not in conf.given))
    absent = {tag for tag, value in changed.items() if value is None}
    values = {tag: value for tag, value in changed.items() if tag not in absent}
    return replace(
        conf,
        **values,
        **{tag: default_of(tag) for tag in absent},
        given=tuple(tag for tag in given if tag not in absent),
    )


def _dht_tags(config: Config, conf: HipConf) -> dict[str, Any]:
    """Where OpenHIP, which asks one server, finds the DHT."""
    asked = config.dht.asked if config.dht is not None else ()
    if not asked or asked[0].address.is_loopback:
        return {"dht_server": None, "dht_server_port": None} if conf.dht_server else {}
    server = asked[0]
    changed: dict[str, Any] = {}
    if conf.dht_server != server.address:
        changed["dht_server"] = server.address
    if (conf.dht_server_port or DHT_PORT) != server.port:
        changed["dht_server_port"] = server.port
    return changed


def _mobile_router_tags(config: Config, conf: HipConf) -> dict[str, Any]:
    """Which interfaces lead outside of a mobile router; OpenHIP knows no patterns."""
    if config.mobile_router is None:
        return {}
    patterns = config.mobile_router.external_interfaces
    names = tuple(name for name in patterns if not set(name) & _PATTERN)
    if names == tuple(dict.fromkeys(conf.outbound_interface)):
        return {}
    return {"outbound_interface": names or None}


def _naming_tags(config: Config, conf: HipConf) -> dict[str, bool]:
    """Whether names are answered, and looked up in the DNS."""
    wanted = {"disable_dns_lookups": SourceName.DNS not in config.naming.order}
    if config.host is not None:
        answered = config.dns is not None and config.dns.intercept
        wanted["disable_dns_thread"] = not answered
    return {tag: value for tag, value in wanted.items() if getattr(conf, tag) != value}


def _endbox_tags(config: Config, endbox: EndboxConfig, conf: HipConf) -> dict[str, Any]:
    """The tags of an endbox that are more or less than one key."""
    changed: dict[str, Any] = {}
    if config.openhip is None:
        # Without a library OpenHIP is no endbox, and does not start as one.
        changed["cfg_library"] = CFG_LIBRARY
    interfaces = list(config.mobility.interfaces)
    if interfaces != (master_interfaces(conf) or ["*"]):
        names = [name for name in interfaces if not set(name) & _PATTERN] + [None, None]
        changed["master_interface"], changed["master_interface2"] = names[:2]
    spi = endbox.wire_multicast_spi
    if endbox.multicast_group is not None and spi is not None:
        found = {
            "multicast_group": endbox.multicast_group,
            # OpenHIP turns it around on the machines that it runs on.
            "multicast_spi": spi.to_bytes(4, "little"),
        }
        changed |= {tag: value for tag, value in found.items() if getattr(conf, tag) != value}
    return changed


def _kept_conf(kept: OpenHipConfig) -> HipConf:
    """The hip.conf in [openhip.conf], read as from a file, so that its values are checked."""
    known = tags()
    root = Element("hip_configuration")
    for tag, value in kept.conf.items():
        if tag not in known:
            raise ConfigError(
                f"openhip.conf.{tag}: is no tag of hip.conf", hint="remove it, or correct its name"
            )
        if known[tag].repeated:
            texts = (value,) if isinstance(value, str) else value
            root.children += [Element(tag, text) for text in texts]
        elif isinstance(value, str):
            root.children.append(Element(tag, value))
        else:
            ids = [Element("id", text) for text in value]
            root.children.append(Element(tag, children=[Element("transforms", children=ids)]))
    return conf_of(root, Path("hipgw.toml, [openhip.conf]"))


def _value(config: Config, key: str) -> tuple[Any, Any] | None:
    """The value of a key and its default; None if its table is not there."""
    *tables, name = key.split(".")
    table: Any = config
    for part in tables:
        table = getattr(table, part)
        if table is None:
            return None
    field = type(table).model_fields.get(name)
    if field is None:
        return None
    return _plain(getattr(table, name)), _plain(field.default)


def _plain(value: Any) -> Any:
    """As it would stand in the file: lists for tuples, texts for names."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return value if value is None or isinstance(value, bool | int | float) else str(value)
