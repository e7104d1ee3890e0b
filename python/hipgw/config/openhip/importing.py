"""From OpenHIP's files to hipgw.toml and key files.

Nothing that OpenHIP reads is lost: what no key of hipgw.toml has the meaning of is kept in its
`[openhip]` table, and a note says why it has no effect.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from hipgw.config.fields import DHT_PORT, Endpoint, InvalidValueError, parse_address
from hipgw.config.names import SourceName
from hipgw.config.openhip import conf as hip_conf
from hipgw.config.openhip.conf import HipConf
from hipgw.config.openhip.hosts import Host, Hosts
from hipgw.config.openhip.mapping import ELSEWHERE, KEPT, TAGS
from hipgw.config.openhip.values import IPAddress, Place
from hipgw.config.openhip.xml import OpenHipFileError
from hipgw.errors import IdentityError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.lsi import LSI_PREFIX, is_lsi

HIPGW_KEY = "host.pem"
"""The new key that this machine has towards peers that speak HIP version 2."""
MULTICAST_KEY = "multicast.key"
WHOLE_MULTICAST_KEY = "openhip-multicast.key"
"""The key as hip.conf has it, if that is not the one in MULTICAST_KEY."""
MULTICAST_KEY_OCTETS = 24
"""Of the key in hip.conf, OpenHIP uses these for 3DES, and the first 20 of them for HMAC-SHA-1."""
SELF = "self"
_WEAK_BITS = 1024
_ADDRESSES_MAX = 16
_DHT_NAME = re.compile(r"[!-~]{1,255}")
_SERVERS_MAX = 4
_SECRET = ("multicast_key",)


@dataclass(frozen=True, slots=True)
class Note:
    """What a user should know about one thing that was read."""

    where: str
    """A tag of hip.conf, or a host."""
    what: str
    kept: bool = False
    """Whether it has no effect in hipgw and was kept for the way back only."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What OpenHIP's files come to."""

    table: dict[str, Any]
    """hipgw.toml."""
    keys: dict[str, rsa.RSAPrivateKey | dsa.DSAPrivateKey] = field(repr=False)
    """Private keys by the names of their files."""
    multicast_keys: dict[str, bytes] = field(repr=False)
    """Keys of the multicast group by the names of their files."""
    notes: tuple[Note, ...]
    hit: IPv6Address
    """The own HIT in version 1."""


@dataclass(slots=True)
class _Import:
    """One run: what is there, and what has come of it so far."""

    conf: HipConf
    known: Hosts
    mine: Hosts
    my_file: Path
    table: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, rsa.RSAPrivateKey | dsa.DSAPrivateKey] = field(default_factory=dict)
    files: dict[IPv6Address, str] = field(default_factory=dict)
    names: dict[IPv6Address, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def note(self, where: str, what: str, *, kept: bool = False) -> None:
        self.notes.append(Note(where, what, kept))

    def set(self, key: str, value: Any) -> None:
        *tables, name = key.split(".")
        table = self.table
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = value


def translate(
    conf: HipConf, known: Hosts, mine: Hosts, *, my_file: Path, ports: Iterable[str] = ()
) -> Imported:
    """Turn OpenHIP's three files into hipgw.toml; `ports` are the LAN ports of an endbox.

    `my_file` is for error texts. Raises OpenHipFileError if this machine has no usable identity.
    """
    run = _Import(conf, known, mine, my_file)
    run.table = {"identity": {"key_file": HIPGW_KEY}, "hip": {}, "esp": {}, "mobility": {}}
    is_endbox = known.is_endbox or bool(conf.cfg_library)
    own = _identities(run)
    _conf_tags(run, is_endbox=is_endbox)
    _dht(run, own)
    _names(run, is_endbox=is_endbox)
    _peers(run, is_endbox=is_endbox)
    if is_endbox:
        _endbox(run, own, list(ports))
    else:
        host = run.table.setdefault("host", {})
        if own.lsi is not None and is_lsi(own.lsi):
            host["lsi"] = str(own.lsi)
    multicast_keys = _multicast(run, is_endbox=is_endbox)
    _kept(run)
    for table in ("hip", "esp", "mobility"):
        if not run.table[table]:
            del run.table[table]
    return Imported(run.table, run.keys, multicast_keys, tuple(run.notes), own.hit)


# -- this machine ---------------------------------------------------------------------------------


def _identities(run: _Import) -> Host:
    """Key files of the own identities; returns the one that is used."""
    if not run.mine.hosts:
        raise OpenHipFileError(
            run.my_file, 0, "has no <host_identity>", hint="hitgen makes one: hipgw openhip hitgen"
        )
    used_names: set[str] = {HIPGW_KEY}
    usable: list[Host] = []
    for host in run.mine.hosts:
        place = Place(run.my_file, host.line, f"identity {host.name}")
        if host.key is None:
            raise place.error("has no key", "it belongs into known_host_identities.xml")
        key = host.key.private_key(place)
        identity = _identity(key, place)
        if identity.hit != host.hit:
            run.note(
                host.name,
                f"its key belongs to the HIT {identity.hit}, not to {host.hit} as the file says; "
                "peers that know the latter will not know this machine",
            )
        file = _unique(f"{_word(host.name) or 'identity'}.pem", used_names, ".pem")
        run.keys[file] = key
        run.files[host.hit] = file
        usable.append(host)
    wanted = run.conf.preferred_hi
    own = next((host for host in usable if host.name == wanted), None)
    if own is None:
        if wanted:
            raise OpenHipFileError(
                run.my_file,
                0,
                f"has no identity of the name {wanted!r}, which hip.conf prefers",
                hint="correct <preferred_hi> in hip.conf, or leave it out",
            )
        own = usable[0]
    run.set("identity.key_file_v1", run.files[own.hit])
    key = run.keys[run.files[own.hit]]
    if key.key_size < _WEAK_BITS:
        run.set("hip.v1.weak_keys", True)
        run.note(own.name, f"its key has {key.key_size} bits: anybody can find it out; replace it")
    for host in usable:
        if host is not own:
            run.note(
                host.name, f"hipgw has one identity in version 1, {own.name}; not used", kept=True
            )
    return own


def _identity(key: rsa.RSAPrivateKey | dsa.DSAPrivateKey, place: Place) -> LocalIdentity:
    try:
        return LocalIdentity(key, 1, weak_keys=True)
    except IdentityError as error:
        raise place.error(str(error), error.hint) from None


# -- hip.conf -------------------------------------------------------------------------------------


def _conf_tags(run: _Import, *, is_endbox: bool) -> None:
    conf = run.conf
    run.notes += [Note("hip.conf", f"{text} is no tag of OpenHIP") for text in conf.unknown]
    for tag in conf.given:
        value = getattr(conf, tag)
        if tag in TAGS:
            if tag.startswith("endbox_") and not is_endbox:
                run.note(tag, "there is no endbox here", kept=True)
                continue
            mapped = TAGS[tag].forward(value)
            if loss := TAGS[tag].loss(value):
                run.note(tag, f"{loss} ({TAGS[tag].key})")
            if mapped is not None:
                run.set(TAGS[tag].key, mapped)
        elif tag in KEPT:
            if tag == "lsi_prefix" and value == LSI_PREFIX.network_address:
                continue
            run.note(tag, KEPT[tag], kept=True)
    if conf.cookie_difficulty > 20:
        run.set("hip.puzzle_difficulty_max", min(conf.cookie_difficulty, 26))
    if conf.peer_certificate_required:
        run.note("peer_certificate_required", "peers without a certificate were refused until now")
    masters = master_interfaces(conf)
    if masters and is_endbox:
        run.set("mobility.interfaces", masters)
    elif masters:
        run.note("master_interface", "there is no endbox here", kept=True)
    if conf.cfg_library and "cfgfiles" not in conf.cfg_library:
        run.note(
            "cfg_library",
            f"{conf.cfg_library} takes the peers from elsewhere than from "
            "known_host_identities.xml; export them into that file first",
        )


def _dht(run: _Import, own: Host) -> None:
    """Look up and publish where OpenHIP did, under the same name."""
    server = run.conf.dht_server
    if server is None:
        if run.conf.dht_server_port:
            run.note("dht_server_port", "there is no dht_server", kept=True)
        return
    run.set("dht.servers", [str(Endpoint(server, run.conf.dht_server_port or DHT_PORT))])
    if _DHT_NAME.fullmatch(own.name):
        run.set("dht.name", own.name)
    if server.is_private:
        # OpenHIP publishes any address; where the server has a private one, they can be of use.
        run.set("dht.private_addresses", True)
    run.note("dht_server", "records that are not signed, or outdated, are not believed any more")


def _names(run: _Import, *, is_endbox: bool) -> None:
    """What OpenHIP's thread for DNS answers, and whether it looks up addresses of peers."""
    conf = run.conf
    if conf.disable_dns_lookups:
        run.set("naming.order", [name.value for name in SourceName if name is not SourceName.DNS])
    if is_endbox:
        if not conf.disable_dns_thread:
            run.note("disable_dns_thread", "nobody asks an endbox for names", kept=True)
    elif "dns" in run.table or "disable_dns_thread" in conf.given:
        # Of itself, OpenHIP answers no names, and hipgw does with the table [dns].
        run.set("dns.intercept", not conf.disable_dns_thread)


def master_interfaces(conf: HipConf) -> list[str]:
    """The interfaces that an endbox may use towards the others; empty for all."""
    both = (conf.master_interface, conf.master_interface2)
    return [name for name in dict.fromkeys(both) if name]


# -- peers ----------------------------------------------------------------------------------------


def _peers(run: _Import, *, is_endbox: bool) -> None:
    peers: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    seen: set[IPv6Address] = set()
    lsis: set[IPv4Address] = set()
    names: set[str] = set()
    own = {host.hit: host for host in run.mine.hosts}
    for host in run.known.hosts:
        if host.hit in seen:
            run.note(host.name, f"{host.hit} is there twice; the first one counts")
            continue
        seen.add(host.hit)
        if host.hit in own:
            records.append(_own_record(run, own[host.hit], host))
            continue
        peer, record = _peer(run, host, names, lsis, is_endbox=is_endbox)
        peers.append(peer)
        records.append(record)
    records += [_own_record(run, host, None) for host in run.mine.hosts if host.hit not in seen]
    if peers:
        run.table["peer"] = peers
    run.set("openhip.host", records)


def _peer(
    run: _Import, host: Host, names: set[str], lsis: set[IPv4Address], *, is_endbox: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    name = _unique(_word(host.name) or "peer", names)
    run.names[host.hit] = name
    where = host.name or str(host.hit)
    record = _record(host, name)
    good, bad = _addresses(host, is_endbox=is_endbox)
    for address, why in bad:
        run.note(where, why)
        record.setdefault("addresses", []).append(str(address))
    if both := [str(address) for address in host.addresses if address in host.rendezvous]:
        record.setdefault("addresses", []).extend(both)
    servers, rest = _servers(host)
    if rest:
        record["rendezvous"] = [str(address) for address in rest]
    for address in rest:
        run.note(where, f"the rendezvous server {address} cannot be called", kept=True)
    if servers and good:
        run.note(where, "is called directly as well, if none of its rendezvous servers helps")
    peer: dict[str, Any] = {"name": name, "hit": str(host.hit), "versions": ["v1"]}
    peer["compat"] = "openhip"
    if servers:
        peer["rvs"] = [str(address) for address in servers]
    if good:
        peer["addresses"] = [str(address) for address in good]
    first = next(iter((*servers, *good)), None)
    over_ipv6 = first is not None and first.version == 6
    transport = "raw" if run.conf.disable_udp or over_ipv6 else "udp"
    if transport == "raw" and not run.conf.disable_udp:
        # OpenHIP has no UDP encapsulation for IPv6.
        peer["transport"] = transport
    lsi = host.lsi
    if lsi is not None:
        if is_lsi(lsi) and lsi not in lsis:
            peer["lsi"] = str(lsi)
            lsis.add(lsi)
        else:
            record["lsi"] = str(lsi)
            if lsi in lsis:
                why = "is that of another host"
            elif lsi in LSI_PREFIX:
                why = "is the address of no machine"
            else:
                why = f"does not lie in {LSI_PREFIX}"
            run.note(where, f"its LSI {lsi} {why}; it gets another one")
    if host.legacy_nodes:
        peer["legacy_nodes"] = [str(node) for node in host.legacy_nodes]
    if not host.check_address:
        run.note(where, "addrcheck: hipgw verifies new addresses in any case", kept=True)
    if not host.addresses and not host.rendezvous:
        run.note(
            where,
            "has no address; OpenHIP asks DNS and a DHT for one. hipgw waits to be called, until "
            "its addresses are written into hipgw.toml",
        )
    if 0 < host.length * 8 < _WEAK_BITS:
        run.note(
            where, f"its key has {host.length * 8} bits: refused, unless hip.v1.weak_keys is set"
        )
    return peer, record


def _addresses(
    host: Host, *, is_endbox: bool
) -> tuple[list[IPAddress], list[tuple[IPAddress, str]]]:
    """The addresses that hipgw can use, and the others with the reason."""
    good: list[IPAddress] = []
    bad: list[tuple[IPAddress, str]] = []
    for address in dict.fromkeys(host.addresses):
        if address in host.rendezvous:
            continue
        why = ""
        try:
            parse_address(str(address))
        except InvalidValueError as error:
            why = str(error)
        if not why and not is_endbox and address.version == 4 and address in LSI_PREFIX:
            why = f"{address} lies in {LSI_PREFIX}, where LSIs are"
        if not why and len(good) >= _ADDRESSES_MAX:
            why = f"{address} is one too many: hipgw takes {_ADDRESSES_MAX}"
        if not why:
            good.append(address)
        else:
            bad.append((address, why))
    return good, bad


def _servers(host: Host) -> tuple[list[IPAddress], list[IPAddress]]:
    """The rendezvous servers that it is called by, in order; and those that cannot be called."""
    good: list[IPAddress] = []
    bad: list[IPAddress] = []
    for address in dict.fromkeys(host.rendezvous):
        try:
            parse_address(str(address))
        except InvalidValueError:
            bad.append(address)
        else:
            (good if len(good) < _SERVERS_MAX else bad).append(address)
    return good, bad


def _record(host: Host, name: str) -> dict[str, Any]:
    """What has no key in [[peer]]; defaults are left out."""
    record: dict[str, Any] = {"hit": str(host.hit)}
    differing = {
        "name": (host.name, name),
        "algorithm": (host.algorithm, 5),
        "length": (host.length, 128),
        "anonymous": (host.anonymous, False),
        "incoming": (host.incoming, True),
        "check_address": (host.check_address, True),
        "r1_count": (host.r1_count, 0),
    }
    return record | {key: value for key, (value, usual) in differing.items() if value != usual}


def _own_record(run: _Import, host: Host, listed: Host | None) -> dict[str, Any]:
    """What is kept of an own identity, with what known_host_identities.xml says about it."""
    record = _record(host, "")
    record["name"] = host.name
    record["key_file"] = run.files[host.hit]
    if listed is None:
        record["listed"] = False
    shown = listed or host
    if lsi := shown.lsi or host.lsi:
        record["lsi"] = str(lsi)
    for key, addresses in (("addresses", shown.addresses), ("rendezvous", shown.rendezvous)):
        if addresses:
            record[key] = [str(address) for address in addresses]
    return record


# -- endbox ---------------------------------------------------------------------------------------


def _endbox(run: _Import, own: Host, ports: list[str]) -> None:
    """The [endbox] table, but for the multicast group."""
    listed = next((host for host in run.known.hosts if host.hit == own.hit), None)
    run.set("endbox.mode", "static")
    if listed is None or not listed.legacy_nodes:
        run.note("endbox", "this endbox has no <legacyNodesIp>: OpenHIP takes no frame for it")
    else:
        run.set("endbox.legacy_nodes", [str(node) for node in listed.legacy_nodes])
    if ports:
        run.set("endbox.ports", ports)
    else:
        run.note("endbox.ports", "name the LAN interface that bridge_up.sh puts into the bridge")
    pairs = [
        [SELF if hit == own.hit else run.names.get(hit, str(hit)) for hit in pair]
        for pair in _distinct(run.known.allowed)
    ]
    run.set("endbox.allowed_pairs", pairs)
    if not pairs:
        run.note("peer_allowed", "is not there at all: no endbox may talk to another")


def _distinct(
    pairs: Iterable[tuple[IPv6Address, IPv6Address]],
) -> list[tuple[IPv6Address, IPv6Address]]:
    """Each pair once, whichever end comes first, without those of one host with itself."""
    found: dict[frozenset[IPv6Address], tuple[IPv6Address, IPv6Address]] = {}
    for pair in pairs:
        if pair[0] != pair[1]:
            found.setdefault(frozenset(pair), pair)
    return list(found.values())


def _multicast(run: _Import, *, is_endbox: bool) -> dict[str, bytes]:
    """The multicast group of an endbox; returns its key by the name of its file."""
    conf = run.conf
    group, spi, key = conf.multicast_group, conf.multicast_spi, conf.multicast_key
    if not (group or spi or key):
        return {}
    whole = isinstance(group, IPv4Address) and group.is_multicast
    if not is_endbox:
        run.note("multicast_group", "there is no endbox here", kept=True)
    elif not whole or len(spi) != 4 or len(key) < MULTICAST_KEY_OCTETS:
        run.note(
            "multicast_group",
            "OpenHIP needs an IPv4 group, then an SPI of four octets, then a key of "
            f"{MULTICAST_KEY_OCTETS}; multicast is sent to each endbox by itself",
            kept=True,
        )
    else:
        run.set("endbox.multicast_group", str(group))
        run.set("endbox.multicast_spi", int.from_bytes(spi, "big"))
        run.set("endbox.multicast_spi_swapped", True)
        run.set("endbox.multicast_key", MULTICAST_KEY)
        run.note("multicast_key", "one key for ever, 3DES, and no protection against replay")
        if len(key) == MULTICAST_KEY_OCTETS:
            return {MULTICAST_KEY: key}
        run.set("openhip.multicast_key", WHOLE_MULTICAST_KEY)
        return {MULTICAST_KEY: key[:MULTICAST_KEY_OCTETS], WHOLE_MULTICAST_KEY: key}
    if not key:
        return {}
    run.set("openhip.multicast_key", WHOLE_MULTICAST_KEY)
    return {WHOLE_MULTICAST_KEY: key}


# -- what is kept ---------------------------------------------------------------------------------


def _kept(run: _Import) -> None:
    """Everything of hip.conf but secrets goes into [openhip.conf] as it is."""
    conf = {tag: _text(getattr(run.conf, tag)) for tag in run.conf.given if tag not in _SECRET}
    # At the end of the file: it is the least of what a reader looks for.
    openhip = run.table.pop("openhip")
    run.table["openhip"] = {**openhip, **({"conf": conf} if conf else {})}
    for file, hosts in (("known_host_identities.xml", run.known), (run.my_file.name, run.mine)):
        run.notes += [Note(file, f"{text} is nothing that OpenHIP reads") for text in hosts.ignored]


def _text(value: Any) -> str | list[str]:
    """A value of hip.conf as text, or as texts."""
    match value:
        case bool():
            return "yes" if value else "no"
        case tuple():
            return [str(item) for item in value]
        case bytes():
            return value.hex()
        case _:
            return str(value)


def _word(name: str) -> str:
    """A name in the characters that a peer's name may have."""
    word = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:55].lstrip("_.-")
    # What reads as an address cannot be a peer's name, and SELF is this machine.
    return f"host-{word}" if word == SELF or re.fullmatch(r"[\d.]+", word) else word


def _unique(name: str, taken: set[str], suffix: str = "") -> str:
    stem = name.removesuffix(suffix)
    number = 2
    while name in taken:
        name = f"{stem}-{number}{suffix}"
        number += 1
    taken.add(name)
    return name


def covered_tags() -> Mapping[str, str]:
    """Every tag of hip.conf with the key it becomes, or the reason why it becomes none."""
    keys = {tag: mapped.key for tag, mapped in TAGS.items()} | ELSEWHERE
    return {tag: keys.get(tag) or KEPT[tag] for tag in hip_conf.tags()}
