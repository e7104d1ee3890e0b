"""From a Diffie-Hellman secret to all keys of an association (RFC 7401 §6.5, RFC 7402 §7)."""

from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hipgw.identity.keymat import AnyKeymat, EspKeys, HipKeys, draw_esp_keys
from hipgw.identity.rhash import Rhash
from hipgw.protocol.compat import Compat
from hipgw.protocol.versions.base import Choice, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What both ends of a base exchange have in common."""

    puzzle_hash: Rhash
    """Of puzzle and KEYMAT."""
    mac_hash: Rhash
    hip_keys: HipKeys
    esp_keys: EspKeys
    keymat: AnyKeymat = field(repr=False)
    index: int
    """KEYMAT Index once the HIP keys were drawn, for ESP_INFO."""


def agree(
    version: Version,
    compat: Compat,
    choice: Choice,
    secret: bytes,
    *,
    salt: tuple[bytes, bytes],
    local_hit: IPv6Address,
    peer_hit: IPv6Address,
    responder_hit: IPv6Address,
) -> Agreement:
    """Draw all keys of an association; *secret* is Kij, *salt* I and J.

    Raises IdentityError for a suite that this host does not have.
    """
    hits = local_hit, peer_hit
    puzzle_hash = version.puzzle_hash(responder_hit)
    mac_hash = version.mac_hash(responder_hit, choice, compat)
    keymat = version.keymat(secret, salt, hits, puzzle_hash, compat)
    hip_keys = version.hip_keys(keymat, *hits, choice, mac_hash)
    index = keymat.index
    return Agreement(
        puzzle_hash=puzzle_hash,
        mac_hash=mac_hash,
        hip_keys=hip_keys,
        esp_keys=esp_keys(keymat, *hits, choice.esp_suite, compat),
        keymat=keymat,
        index=index,
    )


def esp_keys(
    keymat: AnyKeymat, local_hit: IPv6Address, peer_hit: IPv6Address, suite: int, compat: Compat
) -> EspKeys:
    """Draw the keys of a pair of ESP security associations."""
    lower_first = compat.swapped_esp_keys
    return draw_esp_keys(keymat, local_hit, peer_hit, suite, lower_first=lower_first)
