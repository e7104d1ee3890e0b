"""Types of single values in hipgw.toml: addresses, HITs, names, paths, and what they refuse."""

import contextlib
import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from hipgw.errors import IdentityError
from hipgw.identity.hit import HIT_PREFIX, HIT_PREFIX_V1, is_hit
from hipgw.identity.lsi import LSI_PREFIX, is_lsi
from hipgw.identity.operator_key import OperatorPublicKey
from hipgw.wire.stun import DEFAULT_PORT

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

DHT_PORT = 5851
"""TCP port of OpenDHT's interface (RFC 6537 §2)."""
DHT_PROXY_PORT = 8080
"""TCP port of a node's proxy, if none is given: there is no standard one."""

BASE_DIRECTORY = "base_directory"
"""Key of the validation context: the folder that relative paths start from."""

_INTERFACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_INTERFACE_NAME_MAX = 15
_INTERFACE_PATTERN = re.compile(r"[A-Za-z0-9_.*?!\[\]-]{1,32}")
_PEER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DOMAIN_MAX = 200
"""Octets; a name of 63 octets has to fit in front."""
DNS_PORT = 53
_SUN_PATH_LIMIT = 107
"""Octets of a Unix socket's path on Linux, less the final NUL (unix(7))."""


class InvalidValueError(ValueError):
    """A value that breaks a rule, with a hint what to write instead."""

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValueError(f"has to be text in quotes, not {describe(value)}")
    return value


def describe(value: object) -> str:
    """Name a TOML value for an error text, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def parse_address(value: object) -> IPAddress:
    """Parse a unicast address that packets can be sent to."""
    text = _text(value)
    try:
        address = ip_address(text)
    except ValueError:
        hint = "write a numeric address such as 192.0.2.2 or 2001:db8::2"
        if "/" in text:
            hint = "leave out the prefix length"
        elif text.startswith("["):
            hint = "leave out the brackets; the port has a key of its own"
        elif re.fullmatch(r"[\d.]+:\d+", text):
            hint = "leave out the port; it has a key of its own"
        raise InvalidValueError(f"{text!r} is not an IPv4 or IPv6 address", hint=hint) from None
    if address.is_unspecified or address.is_multicast:
        raise InvalidValueError(f"{text} is not the address of one machine")
    if isinstance(address, IPv4Address) and address == IPv4Address("255.255.255.255"):
        raise InvalidValueError(f"{text} is not the address of one machine")
    if isinstance(address, IPv6Address):
        if is_hit(address):
            raise InvalidValueError(
                f"{text} is a HIT, not an address that packets can be routed to",
                hint="put it under 'hit', and the machine's ordinary addresses here",
            )
        if address.is_link_local:
            raise InvalidValueError(
                f"{text} is a link-local address",
                hint="use a global or unique-local (fc00::/7) address",
            )
        if address.ipv4_mapped is not None:
            raise InvalidValueError(
                f"{text} is an IPv4 address", hint=f'write "{address.ipv4_mapped}"'
            )
    return address


def parse_network(value: object) -> IPNetwork:
    """Parse a network such as 192.0.2.0/24; an address alone is a network of one."""
    text = _text(value)
    try:
        return ip_network(text)
    except ValueError:
        hint = "write a network such as 192.0.2.0/24 or 2001:db8::/32"
        with contextlib.suppress(ValueError):
            hint = f'write "{ip_network(text, strict=False)}"'
        raise InvalidValueError(f"{text!r} is not an IPv4 or IPv6 network", hint=hint) from None


def parse_hit(value: object) -> IPv6Address:
    """Parse a Host Identity Tag of either version (RFC 7401 §3.1, RFC 5201 §3.1)."""
    text = _text(value)
    try:
        address = IPv6Address(text)
    except ValueError:
        raise InvalidValueError(
            f"{text!r} is not a HIT", hint="`hipgw id` on the peer shows its HIT (2001:2…)"
        ) from None
    if not is_hit(address) or address.scope_id:
        raise InvalidValueError(
            f"{text} is not a HIT: HITs start with {HIT_PREFIX}, "
            f"those of HIP version 1 with {HIT_PREFIX_V1}",
            hint="`hipgw id` on the peer shows its HIT",
        )
    return address


def parse_hit_v1(value: object) -> IPv6Address:
    """Parse a Host Identity Tag of HIP version 1 (RFC 4843, RFC 5201 §3.1)."""
    address = parse_hit(value)
    if address not in HIT_PREFIX_V1:
        raise InvalidValueError(f"{address} is a HIT of HIP version 2", hint="put it under 'hit'")
    return address


def parse_lsi(value: object) -> IPv4Address:
    """Parse a Local Scope Identifier, an IPv4 address that means a HIT on this host only."""
    text = _text(value)
    try:
        address = IPv4Address(text)
    except ValueError:
        raise InvalidValueError(
            f"{text!r} is not an LSI", hint="write one such as 1.0.0.7"
        ) from None
    if address not in LSI_PREFIX:
        raise InvalidValueError(f"{text} is not an LSI: LSIs lie in {LSI_PREFIX}")
    if not is_lsi(address):
        raise InvalidValueError(f"{text} is the network's own address, not one of a machine")
    return address


def _interface_name(text: str) -> str:
    # dev_valid_name() of the kernel: 1 to 15 octets, no '/', ':' or white space, not "." or "..".
    if not _INTERFACE_NAME.fullmatch(text):
        raise InvalidValueError(
            f"{text!r} is not a name for a network interface",
            hint="1 to 15 letters, digits, '.', '_' or '-'",
        )
    if text in ("lo", "all", "default"):
        raise InvalidValueError(f"{text!r} is reserved by Linux")
    return text


def _interface_pattern(text: str) -> str:
    is_name = not set("*?[") & set(text)
    unclosed = "[" in text and "]" not in text.partition("[")[2]
    if (
        not _INTERFACE_PATTERN.fullmatch(text)
        or unclosed
        or (is_name and len(text) > _INTERFACE_NAME_MAX)
    ):
        raise InvalidValueError(
            f"{text!r} cannot match any network interface",
            hint='write a name, or a pattern such as "wwan*" or "eth[01]"',
        )
    return text


def _peer_name(text: str) -> str:
    if not _PEER_NAME.fullmatch(text):
        raise InvalidValueError(
            f"{text!r} cannot be a peer's name", hint="1 to 63 letters, digits, '.', '_' or '-'"
        )
    try:
        ip_address(text)
    except ValueError:
        return text
    raise InvalidValueError(
        f"{text!r} cannot be a peer's name: it reads as an address", hint="choose a word"
    )


def parse_server(value: object) -> IPAddress | str:
    """Parse the name of a peer that is a server, or the address of a server."""
    text = _text(value)
    if ":" in text or re.fullmatch(r"[\d.]+", text):
        return parse_address(text)
    return _peer_name(text)


def _no_repeats(values: tuple[object, ...]) -> tuple[object, ...]:
    seen = set()
    for value in values:
        if value in seen:
            raise InvalidValueError(f"{value} is listed twice")
        seen.add(value)
    return values


def _path(value: object, info: ValidationInfo) -> Path:
    text = _text(value) if not isinstance(value, Path) else str(value)
    if not text or "\0" in text:
        raise InvalidValueError("has to be the path of a file")
    path = Path(text).expanduser()
    context = info.context
    if isinstance(context, dict) and isinstance(context.get(BASE_DIRECTORY), Path):
        path = context[BASE_DIRECTORY] / path
    return path


def _socket_path(path: Path) -> Path:
    length = len(str(path).encode())
    if length > _SUN_PATH_LIMIT:
        raise InvalidValueError(
            f"is {length} octets long, and a Unix socket's path {_SUN_PATH_LIMIT} at most",
            hint="choose a shorter folder, such as /run/hipgw",
        )
    return path


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address with a port."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"

    @property
    def reached(self) -> "Endpoint":
        """Where this machine itself reaches what listens here."""
        if not self.address.is_unspecified:
            return self
        return Endpoint(ip_address("127.0.0.1" if self.address.version == 4 else "::1"), self.port)


def parse_endpoint(
    value: object, default_port: int, *, kind: str = "TCP", any_address: bool = False
) -> Endpoint:
    """Parse an address, or an address and a port as 192.0.2.9:3478 or [2001:db8::1]:3478.

    *any_address* allows 0.0.0.0 and ::, for what is listened at.
    """
    text = _text(value)
    match = re.fullmatch(r"\[([^\]]*)\](?::(\d{1,5}))?|([^:]*):(\d{1,5})", text)
    if match is None and text.startswith("["):
        raise InvalidValueError(
            f"{text!r} is not an address and a port",
            hint=f"write one such as [2001:db8::1]:{default_port}",
        )
    if match is None:
        return Endpoint(_listened(text) if any_address else parse_address(text), default_port)
    port = int(match[2] or match[4] or default_port)
    if not 0 < port < 65536:
        raise InvalidValueError(f"{port} is not a {kind} port", hint="write one from 1 to 65535")
    plain = match[1] if match[1] is not None else match[3]
    address = _listened(plain) if any_address else parse_address(plain)
    if address.version != (6 if match[1] is not None else 4):
        raise InvalidValueError(
            f"{text!r} has brackets, which are for IPv6 addresses", hint="leave them out"
        )
    return Endpoint(address, port)


def _listened(text: str) -> IPAddress:
    return ip_address(text) if text in ("0.0.0.0", "::") else parse_address(text)  # noqa: S104


def parse_etcd_url(value: object) -> str:
    """Parse where a member of an etcd cluster is: http or https, a host and a port, no path."""
    text = _text(value)
    hint = "write one such as http://192.0.2.1:2379 or https://etcd.example.org:2379"
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise InvalidValueError(f"{text!r} is not the URL of an etcd member", hint=hint)
    if url.path not in ("", "/") or url.query or url.fragment or url.username is not None:
        raise InvalidValueError(f"{text!r} has more than a host and a port", hint=hint)
    return text.rstrip("/")


def parse_operator_key(value: object) -> str:
    """Parse the public key of a fleet's operator, as `hipgw fleet keygen` shows it."""
    text = _text(value)
    try:
        return str(OperatorPublicKey.parse(text))
    except IdentityError as error:
        hint = "`hipgw fleet keygen` shows it: ed25519:…"
        raise InvalidValueError(str(error), hint=hint) from None


def parse_stun_server(value: object) -> Endpoint:
    """Parse where a STUN server is asked."""
    return parse_endpoint(value, DEFAULT_PORT, kind="UDP")


def parse_dht_server(value: object) -> Endpoint:
    """Parse where a server of OpenDHT's interface is asked."""
    return parse_endpoint(value, DHT_PORT)


def parse_dht_listener(value: object) -> Endpoint:
    """Parse where OpenDHT's interface is served."""
    return parse_endpoint(value, DHT_PORT, any_address=True)


def parse_dht_proxy(value: object) -> Endpoint:
    """Parse where the HTTP proxy of a node of OpenDHT is asked."""
    return parse_endpoint(value, DHT_PROXY_PORT)


def parse_name_server(value: object) -> Endpoint:
    """Parse where a name server is asked."""
    return parse_endpoint(value, DNS_PORT, kind="UDP")


def parse_listen_address(value: object) -> IPAddress:
    """Parse an address of this machine."""
    text = str(value) if isinstance(value, IPv4Address | IPv6Address) else _text(value)
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidValueError(
            f"{text!r} is not an IPv4 or IPv6 address", hint="write one such as 127.0.0.139"
        ) from None
    if address.is_unspecified or address.is_multicast:
        raise InvalidValueError(
            f"{text} is not one address of this machine", hint="write one such as 127.0.0.139"
        )
    return address


def parse_domain(value: object) -> str:
    """Parse a domain name; returned in small letters, without a final dot."""
    text = _text(value)
    domain = text.lower().strip(".")
    if not _DOMAIN.fullmatch(domain) or len(domain) > _DOMAIN_MAX:
        raise InvalidValueError(
            f"{text!r} is not a domain name", hint="write one such as hip or plants.example"
        )
    return domain


def parse_legacy_node(value: object) -> IPv4Address:
    """Parse the IPv4 address of a host behind an endbox, or 0.0.0.0 for all that nobody lists."""
    text = _text(value)
    try:
        address = IPv4Address(text)
    except ValueError:
        hint = "write the address of one host, such as 192.168.1.7"
        raise InvalidValueError(f"{text!r} is not an IPv4 address", hint=hint) from None
    if address.is_multicast or address.is_loopback or address == IPv4Address("255.255.255.255"):
        raise InvalidValueError(f"{text} is not the address of one host on a LAN")
    return address


def parse_multicast_group(value: object) -> IPv4Address:
    """Parse an IPv4 multicast group that routers may forward."""
    text = _text(value)
    try:
        address = IPv4Address(text)
    except ValueError:
        raise InvalidValueError(
            f"{text!r} is not an IPv4 address", hint="write a group such as 239.7.7.7"
        ) from None
    if not address.is_multicast:
        raise InvalidValueError(
            f"{text} is not a multicast group", hint="those of one's own are in 239.0.0.0/8"
        )
    return address


def parse_pair(value: object) -> tuple[str, str]:
    """Parse two machines that may talk to each other: HITs, peers' names, or "self"."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidValueError(
            "has to be a list of two machines", hint='such as ["self", "plant-b"], or two HITs'
        )
    one, other = (_pair_end(_text(end)) for end in value)
    if one == other:
        raise InvalidValueError(f"{one} is paired with itself")
    return one, other


def _printable(text: str) -> str:
    if not re.fullmatch(r"[!-~]*", text):
        raise InvalidValueError(
            f"{text!r} has white space in it, or letters beyond ASCII",
            hint="write a name such as plant-a",
        )
    return text


def _pair_end(text: str) -> str:
    return str(parse_hit(text)) if ":" in text else _peer_name(text)


Address = Annotated[IPAddress, BeforeValidator(parse_address)]
StunServerAddress = Annotated[Endpoint, BeforeValidator(parse_stun_server)]
DhtServerAddress = Annotated[Endpoint, BeforeValidator(parse_dht_server)]
DhtListener = Annotated[Endpoint, BeforeValidator(parse_dht_listener)]
DhtProxyAddress = Annotated[Endpoint, BeforeValidator(parse_dht_proxy)]
NameServerAddress = Annotated[Endpoint, BeforeValidator(parse_name_server)]
ListenAddress = Annotated[IPAddress, BeforeValidator(parse_listen_address)]
Domain = Annotated[str, BeforeValidator(parse_domain)]
Hit = Annotated[IPv6Address, BeforeValidator(parse_hit)]
HitV1 = Annotated[IPv6Address, BeforeValidator(parse_hit_v1)]
Lsi = Annotated[IPv4Address, BeforeValidator(parse_lsi)]
EtcdUrl = Annotated[str, BeforeValidator(parse_etcd_url)]
OperatorKeyText = Annotated[str, BeforeValidator(parse_operator_key)]
LegacyNode = Annotated[IPv4Address, BeforeValidator(parse_legacy_node)]
MulticastGroup = Annotated[IPv4Address, BeforeValidator(parse_multicast_group)]
MachinePair = Annotated[tuple[str, str], BeforeValidator(parse_pair)]
Server = Annotated[IPAddress | str, BeforeValidator(parse_server)]
Network = Annotated[IPNetwork, BeforeValidator(parse_network)]
InterfacePattern = Annotated[str, AfterValidator(_interface_pattern)]
InterfaceName = Annotated[str, AfterValidator(_interface_name)]
PrintableText = Annotated[str, AfterValidator(_printable)]
PeerName = Annotated[str, AfterValidator(_peer_name)]
FleetName = PeerName
FilePath = Annotated[Path, BeforeValidator(_path)]
SocketPath = Annotated[Path, BeforeValidator(_path), AfterValidator(_socket_path)]
Integer = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Switch = Annotated[bool, Field(strict=True)]
NoRepeats = AfterValidator(_no_repeats)
