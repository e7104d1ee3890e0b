"""HIP resource records for DNS, as OpenHIP's hi2dns writes them (RFC 8005 §5)."""

import base64
import re
from pathlib import Path

from hipgw.config.openhip.hosts import Host
from hipgw.config.openhip.keys import Algorithm
from hipgw.config.openhip.values import Place
from hipgw.errors import IdentityError
from hipgw.identity.host_identity import HostIdentity, LocalIdentity

_PK_ALGORITHMS = {Algorithm.DSA: 1, Algorithm.RSA: 2}
"""Of IPSECKEY, which the record borrows (RFC 4025 §2.4)."""
_TYPE = 55
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_NAME_MAX = 253


def zone_lines(host: Host, file: Path) -> str:
    """The record of an own identity for a zone file. Raises OpenHipFileError."""
    public = _public(host, file)
    key = base64.b64encode(public.encoded).decode()
    algorithm = _PK_ALGORITHMS[Algorithm(public.algorithm)]
    hit = host.hit.packed.hex().upper()
    return f"{_owner(host, file)}\tIN\tHIP\t( {algorithm} {hit}\n\t\t{key} )"


def tinydns_line(host: Host, file: Path) -> str:
    """The same as a line of tinydns-data. Raises OpenHipFileError."""
    public = _public(host, file)
    algorithm = _PK_ALGORITHMS[Algorithm(public.algorithm)]
    header = bytes([len(host.hit.packed), algorithm]) + len(public.encoded).to_bytes(2, "big")
    data = header + host.hit.packed + public.encoded
    escaped = "".join(rf"\{octet:03o}" for octet in data)
    return f":{_owner(host, file).rstrip('.')}:{_TYPE}:{escaped}"


def _owner(host: Host, file: Path) -> str:
    """The name without the length behind its last dash; absolute if it has a domain.

    Raises OpenHipFileError for one that a zone file would take for something else.
    """
    name = host.name.rpartition("-")[0] or host.name
    if not _DOMAIN_NAME.fullmatch(name) or len(name) > _NAME_MAX:
        raise Place(file, host.line, f"identity {host.name}").error(
            "cannot be a name in DNS", "give it a <name> of letters, digits, '-', '_' and dots"
        )
    return f"{name}." if "." in name and not name.endswith(".") else name


def _public(host: Host, file: Path) -> HostIdentity:
    place = Place(file, host.line, f"identity {host.name}")
    if host.key is None:
        raise place.error("has no key", "hi2dns reads my_host_identities.xml")
    try:
        return LocalIdentity(host.key.private_key(place), 1, weak_keys=True).public
    except IdentityError as error:
        raise place.error(str(error), error.hint) from None
