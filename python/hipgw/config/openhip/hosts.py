"""known_host_identities.xml and my_host_identities.xml: hosts, and which endboxes may meet."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TypeVar

from hipgw.config.openhip import values
from hipgw.config.openhip.keys import DSA_ELEMENTS, RSA_ELEMENTS, Algorithm, KeyNumbers
from hipgw.config.openhip.values import IPAddress, Place
from hipgw.config.openhip.xml import Element, emit, read

Item = TypeVar("Item")

KNOWN_HOSTS = "known_host_identities"
MY_HOSTS = "my_host_identities"

_LSI_MASK = 0xFFFFFF
_NAME_MAX = 255
"""OpenHIP keeps no more of a name."""
_ATTRIBUTES = {"alg", "alg_id", "length", "anon", "incoming", "r1count", "addrcheck"}
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\x80-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One `<host_identity>`."""

    name: str
    """Its human-readable name; `NAME.hip` is what OpenHIP's DNS answers for."""
    hit: IPv6Address
    algorithm: int = Algorithm.RSA
    """`alg_id`: 3 DSA, 5 RSA; others may stand in the known hosts."""
    length: int = 0
    """Of the key, in octets; 0 if it is not told."""
    anonymous: bool = False
    incoming: bool = True
    r1_count: int = 0
    check_address: bool = True
    """Whether its new addresses are verified before they are used."""
    lsi: IPv4Address | None = None
    """As it stands in the file; without one, `default_lsi`."""
    addresses: tuple[IPAddress, ...] = ()
    rendezvous: tuple[IPAddress, ...] = ()
    """`<RVS>`: where I1 is sent instead of its addresses."""
    legacy_nodes: tuple[IPv4Address, ...] = ()
    """`<legacyNodesIp>`: hosts behind this endbox; 0.0.0.0 for every other one."""
    key: KeyNumbers | None = field(default=None, repr=False)
    line: int = field(default=0, compare=False)

    def default_lsi(self, prefix: IPv4Address) -> IPv4Address:
        """Its LSI as OpenHIP computes it: the prefix, and the low 24 bits of the HIT."""
        return IPv4Address(int(prefix) & ~_LSI_MASK | int(self.hit) & _LSI_MASK)


@dataclass(frozen=True, slots=True)
class Hosts:
    """One of the two files."""

    hosts: tuple[Host, ...] = ()
    allowed: tuple[tuple[IPv6Address, IPv6Address], ...] = ()
    """`<peer_allowed>`: pairs of endboxes that talk to each other."""
    ignored: tuple[str, ...] = field(default=(), compare=False)
    """What OpenHIP does not read either, as texts with their lines."""

    @property
    def is_endbox(self) -> bool:
        """Whether this is the file of an installation with endboxes."""
        return bool(self.allowed) or any(host.legacy_nodes for host in self.hosts)

    def public(self) -> "Hosts":
        """The same without private keys."""
        hosts = tuple(
            replace(host, key=host.key.public_only() if host.key else None) for host in self.hosts
        )
        return replace(self, hosts=hosts)


def read_known_hosts(file: Path) -> Hosts:
    """Read known_host_identities.xml. Raises OpenHipFileError."""
    return hosts_of(read(file, KNOWN_HOSTS), file)


def read_my_hosts(file: Path) -> Hosts:
    """Read my_host_identities.xml with its private keys. Raises OpenHipFileError."""
    return hosts_of(read(file, MY_HOSTS), file)


def hosts_of(root: Element, file: Path) -> Hosts:
    """The hosts and pairs of a parsed file. Raises OpenHipFileError."""
    hosts: list[Host] = []
    allowed: list[tuple[IPv6Address, IPv6Address]] = []
    ignored: list[str] = []
    for element in root:
        if element.tag == "host_identity":
            hosts.append(_host(element, file, ignored))
        elif element.tag == "peer_allowed":
            allowed.append(_pair(element, file))
        else:
            ignored.append(f"line {element.line}: <{element.tag}>")
    return Hosts(tuple(hosts), tuple(allowed), tuple(ignored))


def _host(element: Element, file: Path, ignored: list[str]) -> Host:
    place = Place.of(file, element)
    attributes = element.attributes
    ignored += [
        f"line {element.line}: attribute {name}" for name in attributes if name not in _ATTRIBUTES
    ]
    algorithm = _attribute(element, file, "alg_id", 0, most=255)
    names = _numbers(algorithm)
    texts: dict[str, str] = {}
    numbers: dict[str, int] = {}
    hit: IPv6Address | None = None
    lsi: IPv4Address | None = None
    addresses: list[IPAddress] = []
    rendezvous: list[IPAddress] = []
    legacy_nodes: list[IPv4Address] = []
    for child in element:
        at = Place.of(file, child)
        match child.tag:
            case "name":
                texts["name"] = _name(child.text, at)
            case "HIT":
                hit = values.hit(child.text, at)
            case "LSI":
                lsi = values.ipv4(child.text, at)
            case "addr":
                addresses.append(values.address(child.text, at))
            case "RVS":
                rendezvous.append(values.address(child.text, at))
            case "legacyNodesIp":
                legacy_nodes.append(values.ipv4(child.text, at))
            case tag if tag in names:
                numbers[tag] = values.hexadecimal(child.text, at)
            case tag:
                ignored.append(f"line {child.line}: <{tag}>")
    if hit is None:
        raise place.error("has no <HIT>", "OpenHIP leaves such a host out; remove it, or add one")
    return Host(
        name=texts.get("name", ""),
        hit=hit,
        algorithm=algorithm,
        length=_attribute(element, file, "length", 0, most=65535),
        anonymous=attributes.get("anon", "no").startswith("y"),
        incoming=attributes.get("incoming", "yes").startswith("y"),
        r1_count=_attribute(element, file, "r1count", 0, most=2**64 - 1),
        check_address=attributes.get("addrcheck") != "no",
        lsi=lsi,
        addresses=_each_once(addresses),
        rendezvous=_each_once(rendezvous),
        legacy_nodes=_each_once(legacy_nodes),
        key=KeyNumbers(Algorithm(algorithm), numbers) if numbers else None,
        line=element.line,
    )


def _numbers(algorithm: int) -> tuple[str, ...]:
    match algorithm:
        case Algorithm.RSA:
            return RSA_ELEMENTS
        case Algorithm.DSA:
            return DSA_ELEMENTS
        case _:
            return ()


def _attribute(element: Element, file: Path, name: str, default: int, *, most: int) -> int:
    text = element.attributes.get(name)
    if text is None:
        return default
    return values.integer(text, Place(file, element.line, f"attribute {name}"), most=most)


def _name(text: str, place: Place) -> str:
    if _UNPRINTABLE.search(text):
        raise place.error("has characters that cannot be shown", "remove them")
    if len(text.encode()) >= _NAME_MAX:
        raise place.error(f"is longer than {_NAME_MAX - 1} octets", "choose a shorter name")
    return text


def _each_once(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(dict.fromkeys(items))


def _pair(element: Element, file: Path) -> tuple[IPv6Address, IPv6Address]:
    found = {child.tag: values.hit(child.text, Place.of(file, child)) for child in element}
    if not {"hit1", "hit2"} <= found.keys():
        raise Place.of(file, element).error("needs a <hit1> and a <hit2>")
    return found["hit1"], found["hit2"]


_COMMENT = "Written by hipgw."


def emit_known_hosts(hosts: Hosts) -> bytes:
    """known_host_identities.xml, which never has keys."""
    return emit(_root(KNOWN_HOSTS, hosts, with_keys=False), _COMMENT)


def emit_my_hosts(hosts: Hosts) -> bytes:
    """my_host_identities.xml; with private keys, unless `hosts` is without them."""
    return emit(_root(MY_HOSTS, hosts, with_keys=True), _COMMENT)


def _root(tag: str, hosts: Hosts, *, with_keys: bool) -> Element:
    root = Element(tag)
    root.children += [_element(host, with_keys=with_keys) for host in hosts.hosts]
    for first, second in hosts.allowed:
        pair = Element("peer_allowed")
        pair.children += [Element("hit1", str(first)), Element("hit2", str(second))]
        root.children.append(pair)
    return root


def _element(host: Host, *, with_keys: bool) -> Element:
    name = next((item.name for item in Algorithm if item == host.algorithm), "unknown")
    element = Element(
        "host_identity",
        attributes={
            "alg": name,
            "alg_id": str(host.algorithm),
            "length": str(host.length),
            "anon": "yes" if host.anonymous else "no",
            "incoming": "yes" if host.incoming else "no",
        },
    )
    if not host.check_address:
        element.attributes["addrcheck"] = "no"
    if host.r1_count:
        element.attributes["r1count"] = str(host.r1_count)
    children = [("name", host.name), *(("addr", str(address)) for address in host.addresses)]
    if with_keys and host.key is not None:
        children += host.key.elements().items()
    children += [("legacyNodesIp", str(node)) for node in host.legacy_nodes]
    children.append(("HIT", str(host.hit)))
    if host.lsi is not None:
        children.append(("LSI", str(host.lsi)))
    children += [("RVS", str(address)) for address in host.rendezvous]
    element.children += [Element(tag, text) for tag, text in children]
    return element
