"""hip.conf: every tag that OpenHIP 0.9 reads, with the meaning and the default it has there."""

from collections.abc import Callable, Iterable
from dataclasses import Field, dataclass, field, fields
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from hipgw.config.openhip import values
from hipgw.config.openhip.values import IPAddress, Place
from hipgw.config.openhip.xml import Element, emit, read

ROOT = "hip_configuration"
SUITES_MAX = 6
"""HIP and ESP suites 1 to 6 (RFC 5201 §5.2.7, RFC 5202 §5.1.2)."""
DEFAULT_SUITES = tuple(range(1, SUITES_MAX + 1))
_TEXT_MAX = 255


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of a tag are read and written."""

    read: Callable[[Element, Place], Any]
    write: Callable[[Any], Iterable[Element]]
    """Elements whose tag is filled in."""
    repeated: bool = False


def _plain(value: Any) -> Iterable[Element]:
    return [Element("", str(value))]


def _number(most: int = 2**31 - 1, least: int = 0) -> Kind:
    return Kind(lambda element, place: values.integer(element.text, place, least, most), _plain)


def _read_text(element: Element, place: Place) -> str:
    if not element.text.isprintable() or len(element.text.encode()) > _TEXT_MAX:
        raise place.error(f"has to be a text of {_TEXT_MAX} printable octets at most")
    return element.text


def _write_suites(suites: tuple[int, ...]) -> Iterable[Element]:
    transforms = Element("transforms", children=[Element("id", str(suite)) for suite in suites])
    return [Element("", children=[transforms])]


def _read_suites(element: Element, place: Place) -> tuple[int, ...]:
    transforms = next((child for child in element if child.tag == "transforms"), None)
    ids = [child for child in transforms or () if child.tag == "id"]
    if not ids:
        raise place.error("lists no suite", "write <transforms><id>1</id></transforms> in it")
    found = [
        values.integer(item.text, Place(place.file, item.line, "<id>"), 1, SUITES_MAX)
        for item in ids
    ]
    return tuple(dict.fromkeys(found))


_YES_NO = Kind(
    lambda element, _place: values.yes_no(element.text),
    lambda value: [Element("", "yes" if value else "no")],
)
_ADDRESS = Kind(lambda element, place: values.address(element.text, place), _plain)
_IPV4 = Kind(lambda element, place: values.ipv4(element.text, place), _plain)
_TEXT = Kind(_read_text, _plain)
_TEXTS = Kind(_read_text, lambda texts: [Element("", text) for text in texts], repeated=True)
_SUITES = Kind(_read_suites, _write_suites)
_OCTETS = Kind(
    lambda element, place: values.octets(element.text, place),
    lambda value: [Element("", value.hex())],
)


def _tag(kind: Kind, default: Any, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"kind": kind})


@dataclass(frozen=True, slots=True, kw_only=True)
class HipConf:
    """hip.conf; each field is the tag of the same name, times are seconds."""

    cookie_difficulty: int = _tag(_number(64), 10)
    cookie_lifetime: int = _tag(_number(255), 39)
    """2^(value - 32) s."""
    packet_timeout: int = _tag(_number(), 5)
    max_retries: int = _tag(_number(), 5)
    sa_lifetime: int = _tag(_number(), 900)
    loc_lifetime: int = _tag(_number(), 1800)
    icmp_timeout: int = _tag(_number(), 0)
    preferred_hi: str = _tag(_TEXT, "")
    send_hi_name: bool = _tag(_YES_NO, True)
    dh_group: int = _tag(_number(6, 1), 3)
    dh_lifetime: int = _tag(_number(), 900)
    r1_lifetime: int = _tag(_number(), 300)
    failure_timeout: int = _tag(_number(), 25)
    msl: int = _tag(_number(), 5)
    ual: int = _tag(_number(), 600)
    hip_sa: tuple[int, ...] = _tag(_SUITES, DEFAULT_SUITES)
    esp_sa: tuple[int, ...] = _tag(_SUITES, DEFAULT_SUITES)
    dht_server: IPAddress | None = _tag(_ADDRESS, None)  # noqa: RUF009
    dht_server_port: int = _tag(_number(65535), 0)
    dns_server: IPAddress | None = _tag(_ADDRESS, None)  # noqa: RUF009
    disable_dns_lookups: bool = _tag(_YES_NO, False)
    disable_notify: bool = _tag(_YES_NO, False)
    disable_dns_thread: bool = _tag(_YES_NO, True)
    enable_broadcast: bool = _tag(_YES_NO, False)
    disable_udp: bool = _tag(_YES_NO, False)
    min_reg_lifetime: int = _tag(_number(255), 96)
    """2^((value - 64) / 8) s."""
    max_reg_lifetime: int = _tag(_number(255), 255)
    preferred: IPAddress | None = _tag(_ADDRESS, None)  # noqa: RUF009
    ignored_addr: IPAddress | None = _tag(_ADDRESS, None)  # noqa: RUF009
    preferred_interface: str = _tag(_TEXT, "")
    outbound_interface: tuple[str, ...] = _tag(_TEXTS, ())
    save_known_identities: bool = _tag(_YES_NO, False)
    save_my_identities: bool = _tag(_YES_NO, True)
    peer_certificate_required: bool = _tag(_YES_NO, False)
    lsi_prefix: IPv4Address = _tag(_IPV4, IPv4Address("1.0.0.0"))  # noqa: RUF009
    cfg_library: str = _tag(_TEXT, "")
    master_interface: str = _tag(_TEXT, "")
    master_interface2: str = _tag(_TEXT, "")
    endbox_hello_time: int = _tag(_number(), 0)
    endbox_heartbeat_time: int = _tag(_number(), 0)
    endbox_allow_core_dump: bool = _tag(_YES_NO, False)
    multicast_group: IPAddress | None = _tag(_ADDRESS, None)  # noqa: RUF009
    multicast_spi: bytes = _tag(_OCTETS, b"")
    """Four octets in the order in which they are written."""
    multicast_key: bytes = _tag(_OCTETS, b"", secret=True)

    given: tuple[str, ...] = field(default=(), metadata={})
    """The tags that stand in the file, in its order."""
    unknown: tuple[str, ...] = field(default=(), compare=False, metadata={})
    """What OpenHIP does not know either, as texts with their lines."""


def tags() -> dict[str, Kind]:
    """Every tag, with how it is read and written."""
    return {item.name: item.metadata["kind"] for item in fields(HipConf) if "kind" in item.metadata}


def default_of(tag: str) -> Any:
    """What OpenHIP takes when the tag is not there."""
    found: Field[Any] = next(item for item in fields(HipConf) if item.name == tag)
    return found.default


def read_conf(file: Path) -> HipConf:
    """Read hip.conf. Raises OpenHipFileError."""
    return conf_of(read(file, ROOT), file)


def conf_of(root: Element, file: Path) -> HipConf:
    """The settings of a parsed hip.conf; of a tag that is there twice the last one counts."""
    known = tags()
    found: dict[str, Any] = {}
    unknown: list[str] = []
    for element in root:
        kind = known.get(element.tag)
        if kind is None:
            unknown.append(f"line {element.line}: <{element.tag}>")
            continue
        value = kind.read(element, Place.of(file, element))
        found[element.tag] = (*found.get(element.tag, ()), value) if kind.repeated else value
    return HipConf(**found, given=tuple(found), unknown=tuple(unknown))


def emit_conf(conf: HipConf) -> bytes:
    """hip.conf with the tags that are given."""
    root = Element(ROOT)
    known = tags()
    for tag in conf.given:
        for element in known[tag].write(getattr(conf, tag)):
            element.tag = tag
            root.children.append(element)
    return emit(root, "HIP Configuration File")
