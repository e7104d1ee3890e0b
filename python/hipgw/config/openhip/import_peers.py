"""Hosts of known_host_identities.xml become peers; what no key has the meaning of is kept."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hipgw.config.fields import InvalidValueError, parse_address
from hipgw.config.openhip.hosts import Host
from hipgw.config.openhip.import_run import WEAK_BITS, Import, plain_word, unique
from hipgw.config.openhip.values import IPAddress
from hipgw.identity.lsi import LSI_PREFIX, is_lsi

_ADDRESSES_MAX = 16
_SERVERS_MAX = 4


def import_peers(run: Import, *, is_endbox: bool) -> None:
    """All [[peer]] tables, and the records of [openhip]."""
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
    run: Import, host: Host, names: set[str], lsis: set[IPv4Address], *, is_endbox: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    name = unique(plain_word(host.name) or "peer", names)
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
    if 0 < host.length * 8 < WEAK_BITS:
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


def _own_record(run: Import, host: Host, listed: Host | None) -> dict[str, Any]:
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
