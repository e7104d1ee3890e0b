"""From OpenHIP's files to hipgw.toml and key files.

Nothing that OpenHIP reads is lost: what no key of hipgw.toml has the meaning of is kept in its
`[openhip]` table, and a note says why it has no effect.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from hipgw.config.fields import DHT_PORT, Endpoint
from hipgw.config.names import SourceName
from hipgw.config.openhip import conf as hip_conf
from hipgw.config.openhip.conf import HipConf
from hipgw.config.openhip.hosts import Host, Hosts
from hipgw.config.openhip.import_endbox import import_endbox, import_multicast
from hipgw.config.openhip.import_peers import import_peers
from hipgw.config.openhip.import_run import WEAK_BITS, Import, Note, plain_word, unique
from hipgw.config.openhip.mapping import ELSEWHERE, KEPT, TAGS
from hipgw.config.openhip.values import Place
from hipgw.config.openhip.xml import OpenHipFileError
from hipgw.errors import IdentityError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.lsi import LSI_PREFIX, is_lsi

HIPGW_KEY = "host.pem"
"""The new key that this machine has towards peers that speak HIP version 2."""
_DHT_NAME = re.compile(r"[!-~]{1,255}")
_SECRET = ("multicast_key",)


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


def translate(
    conf: HipConf, known: Hosts, mine: Hosts, *, my_file: Path, ports: Iterable[str] = ()
) -> Imported:
    """Turn OpenHIP's three files into hipgw.toml; `ports` are the LAN ports of an endbox.

    `my_file` is for error texts. Raises OpenHipFileError if this machine has no usable identity.
    """
    run = Import(conf, known, mine, my_file)
    run.table = {"identity": {"key_file": HIPGW_KEY}, "hip": {}, "esp": {}, "mobility": {}}
    is_endbox = known.is_endbox or bool(conf.cfg_library)
    own = _identities(run)
    _conf_tags(run, is_endbox=is_endbox)
    _dht(run, own)
    _names(run, is_endbox=is_endbox)
    import_peers(run, is_endbox=is_endbox)
    if is_endbox:
        import_endbox(run, own, list(ports))
    else:
        host = run.table.setdefault("host", {})
        if own.lsi is not None and is_lsi(own.lsi):
            host["lsi"] = str(own.lsi)
    multicast_keys = import_multicast(run, is_endbox=is_endbox)
    _kept(run)
    for table in ("hip", "esp", "mobility"):
        if not run.table[table]:
            del run.table[table]
    return Imported(run.table, run.keys, multicast_keys, tuple(run.notes), own.hit)


# -- this machine ---------------------------------------------------------------------------------


def _identities(run: Import) -> Host:
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
        file = unique(f"{plain_word(host.name) or 'identity'}.pem", used_names, ".pem")
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
    if key.key_size < WEAK_BITS:
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


def _conf_tags(run: Import, *, is_endbox: bool) -> None:
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


def _dht(run: Import, own: Host) -> None:
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


def _names(run: Import, *, is_endbox: bool) -> None:
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


# -- what is kept ---------------------------------------------------------------------------------


def _kept(run: Import) -> None:
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


def covered_tags() -> Mapping[str, str]:
    """Every tag of hip.conf with the key it becomes, or the reason why it becomes none."""
    keys = {tag: mapped.key for tag, mapped in TAGS.items()} | ELSEWHERE
    return {tag: keys.get(tag) or KEPT[tag] for tag in hip_conf.tags()}
