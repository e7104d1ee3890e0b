"""OpenHIP's endbox and its multicast group become the table [endbox]."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from hipgw.config.openhip.hosts import Host
from hipgw.config.openhip.import_run import SELF, Import

MULTICAST_KEY = "multicast.key"
WHOLE_MULTICAST_KEY = "openhip-multicast.key"
"""The key as hip.conf has it, if that is not the one in MULTICAST_KEY."""
MULTICAST_KEY_OCTETS = 24
"""Of the key in hip.conf, OpenHIP uses these for 3DES, and the first 20 of them for HMAC-SHA-1."""


def import_endbox(run: Import, own: Host, ports: list[str]) -> None:
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


def import_multicast(run: Import, *, is_endbox: bool) -> dict[str, bytes]:
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
