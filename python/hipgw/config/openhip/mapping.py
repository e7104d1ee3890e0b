"""What each tag of hip.conf is in hipgw.toml, and why some are nothing there.

A tag stands in `TAGS` or `ELSEWHERE` if a key has its meaning, or in `KEPT` with the reason why
none has. It goes both ways: `hipgw import openhip` uses `Tag.forward`, `hipgw export openhip`
`Tag.backward`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from hipgw.config.fields import DNS_PORT, Endpoint, parse_name_server
from hipgw.config.names import V1DhGroupName, V1SuiteName
from hipgw.config.openhip.conf import DEFAULT_SUITES

_SUITES = {name.wire_id: name.value for name in V1SuiteName}
_GROUPS = {name.wire_id: name.value for name in V1DhGroupName}
_DH_GROUPS = ("MODP-1536", "MODP-3072")
"""What hipgw has by itself; a group of hip.conf comes in front of them."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag whose meaning a key has."""

    key: str
    """Such as `hip.idle_close_s`."""
    forward: Callable[[Any], Any]
    """From the tag's value to the key's; None if the key is to be left out."""
    backward: Callable[[Any], Any]
    """From the key's value to the tag's; None if the tag is to be left out."""
    loss: Callable[[Any], str] = lambda _value: ""
    """What is not the same afterwards, as a sentence for the user; empty if nothing."""


def _within(least: float, most: float) -> Callable[[Any], Any]:
    return lambda value: min(max(value, least), most)


def _clipped(least: float, most: float, unit: str = "") -> Callable[[Any], str]:
    def loss(value: Any) -> str:
        if least <= value <= most:
            return ""
        return f"{value} is outside of what hipgw takes, {least} to {most}{unit}"

    return loss


def _suite_names(ids: tuple[int, ...]) -> list[str] | None:
    if ids == DEFAULT_SUITES:
        return None
    return [_SUITES[suite] for suite in ids]


def _suite_loss(ids: tuple[int, ...]) -> str:
    if ids == DEFAULT_SUITES:
        return (
            "lists every suite, as OpenHIP does by itself, the weak ones too; taken over is only "
            "AES-128-CBC-SHA1, which OpenHIP has unless told otherwise. For more, set the key"
        )
    if len(ids) > 1 or ids != (1,):
        return "has suites that are weak; they are taken over as they are"
    return ""


def _ids(names: list[str]) -> tuple[int, ...]:
    return tuple(suite for name in names for suite, known in _SUITES.items() if known == name)


def _groups(group: int) -> list[str]:
    first = _GROUPS[group]
    return [first, *(name for name in _DH_GROUPS if name != first)]


def _first_group(names: list[str]) -> int:
    return next(group for group, name in _GROUPS.items() if name == names[0])


def _group_loss(group: int) -> str:
    return "is a Diffie-Hellman group that can be broken; use 3 or 4" if group < 3 else ""


TAGS: dict[str, Tag] = {
    "cookie_difficulty": Tag("hip.puzzle_difficulty", _within(0, 26), int, _clipped(0, 26)),
    "max_retries": Tag("hip.retries", _within(1, 20), int, _clipped(1, 20)),
    "sa_lifetime": Tag("esp.rekey_s", _within(1, 2592000), int, _clipped(1, 2592000, " s")),
    "ual": Tag("hip.idle_close_s", _within(10, 604800), int, _clipped(10, 604800, " s")),
    "dh_group": Tag(
        "hip.v1.dh_groups",
        _groups,
        _first_group,
        _group_loss,
    ),
    "hip_sa": Tag("hip.v1.hip_suites", _suite_names, _ids, _suite_loss),
    "esp_sa": Tag("hip.v1.esp_suites", _suite_names, _ids, _suite_loss),
    "disable_udp": Tag(
        "hip.transport",
        lambda yes: "raw" if yes else "udp",
        lambda transport: transport == "raw",
    ),
    "ignored_addr": Tag(
        "mobility.ignored_addresses",
        lambda address: None if address is None else [str(ip_network(address))],
        lambda networks: ip_network(networks[0]).network_address if networks else None,
    ),
    "preferred_interface": Tag(
        "mobility.preferred_interfaces",
        lambda name: [name] if name else None,
        lambda names: names[0] if names else None,
    ),
    "dns_server": Tag(
        "dns.servers",
        lambda address: None if address is None else [str(Endpoint(address, DNS_PORT))],
        lambda servers: parse_name_server(servers[0]).address if servers else None,
        lambda address: (
            "" if address is None else "is asked for all names then, not for peers only"
        ),
    ),
    "endbox_hello_time": Tag("endbox.hello_s", _within(0, 3600), int, _clipped(0, 3600, " s")),
    "endbox_heartbeat_time": Tag(
        "endbox.heartbeat_s", _within(0, 3600), int, _clipped(0, 3600, " s")
    ),
}
"""Tags that are one key."""

ELSEWHERE = {
    "preferred_hi": "identity.key_file_v1",
    "master_interface": "mobility.interfaces",
    "master_interface2": "mobility.interfaces",
    "cfg_library": "[endbox]",
    "disable_dns_thread": "dns.intercept",
    "disable_dns_lookups": "naming.order",
    "multicast_group": "endbox.multicast_group",
    "multicast_spi": "endbox.multicast_spi",
    "multicast_key": "endbox.multicast_key",
    "dht_server": "dht.servers",
    "dht_server_port": "dht.servers",
}
"""Tags that `importing` and `exporting` take over by themselves, with the key that they go to."""

KEPT: dict[str, str] = {
    "cookie_lifetime": "hipgw's puzzles live as long as the keys that they are made with",
    "packet_timeout": "hipgw waits half a second, then twice as long each time: hip.retransmit_s",
    "loc_lifetime": "hipgw tells peers at once when an address is gone, and gives none a lifetime",
    "icmp_timeout": "no ICMP message ends an association: anybody could send one",
    "send_hi_name": "the name is of no use to hipgw's peers, and tells who calls whom",
    "dh_lifetime": "hipgw makes new Diffie-Hellman keys together with its R1s",
    "r1_lifetime": "hipgw makes new R1s every two minutes",
    "failure_timeout": "an exchange that fails can be begun again at once",
    "msl": "hipgw takes ten seconds",
    "disable_notify": "hipgw's NOTIFYs are limited in rate, and there is no switch for them",
    "enable_broadcast": "there is no broadcast to 1.255.255.255: endboxes carry that of their LANs",
    "min_reg_lifetime": "`hip -rvs` and `hip -mr` take it over as min_lifetime_s",
    "max_reg_lifetime": "`hip -rvs` and `hip -mr` take it over as max_lifetime_s",
    "preferred": "which address is preferred goes by interface: mobility.preferred_interfaces; "
    "clients find a mobile router by any of its addresses",
    "outbound_interface": "`hip -mr` takes it over as mobile_router.external_interfaces",
    "save_known_identities": "hipgw never writes its configuration",
    "save_my_identities": "hipgw's R1 counter needs no file",
    "peer_certificate_required": "hipgw reads no certificates; who may call is in the [[peer]]s",
    "lsi_prefix": "hipgw's LSIs lie in 1.0.0.0/8",
    "endbox_allow_core_dump": "a core dump has keys in it",
}
"""Tags that no key has the meaning of, with the reason; `[openhip.conf]` keeps them."""
