"""What OpenHIP's hitgen makes: identities, and a hip.conf with defaults."""

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from hipgw.config.openhip.conf import HipConf
from hipgw.config.openhip.hosts import Host
from hipgw.config.openhip.keys import Algorithm, KeyNumbers
from hipgw.errors import IdentityError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.lsi import LSI_PREFIX

DEFAULT_BITS = 2048
"""OpenHIP takes 1024 by itself, which is too weak by now; it works with these as well."""
RSA_BITS = range(1024, 2049, 64)
"""OpenHIP takes no longer ones; below, hipgw makes none."""
DSA_BITS = 1024
"""The only length that HIPv1 can encode with keys as they are made today (RFC 2536 §2)."""

HITGEN_CONF = HipConf(
    packet_timeout=10,
    failure_timeout=50,
    given=(
        *("cookie_difficulty", "packet_timeout", "max_retries", "sa_lifetime", "send_hi_name"),
        *("dh_group", "dh_lifetime", "r1_lifetime", "failure_timeout", "msl", "ual"),
        *("min_reg_lifetime", "max_reg_lifetime", "hip_sa", "esp_sa", "disable_dns_lookups"),
        *("save_known_identities", "disable_notify", "disable_dns_thread", "enable_broadcast"),
        "disable_udp",
    ),
)
"""What `hitgen -conf` writes."""


def new_host(
    name: str,
    algorithm: Algorithm,
    bits: int,
    *,
    anonymous: bool = False,
    incoming: bool = True,
    r1_count: int = 0,
) -> Host:
    """Make an identity; its name is followed by its length, as hitgen has it.

    Raises IdentityError for a length that there is not, or that is too weak.
    """
    key: rsa.RSAPrivateKey | dsa.DSAPrivateKey
    if algorithm is Algorithm.DSA:
        if bits != DSA_BITS:
            raise IdentityError(
                f"HIP version 1 has no DSA keys of {bits} bits",
                hint=f"take {DSA_BITS}, or rather RSA: -type RSA -bits {DEFAULT_BITS}",
            )
        key = dsa.generate_private_key(bits)
    else:
        if bits not in RSA_BITS:
            raise IdentityError(
                f"RSA keys of {bits} bits are too weak, or unknown to OpenHIP",
                hint=f"take {DEFAULT_BITS}; {RSA_BITS[0]} to {RSA_BITS[-1]} in steps of 64 work",
            )
        key = rsa.generate_private_key(65537, bits)
    host = Host(
        name=f"{name}-{bits}",
        hit=LocalIdentity(key, 1).hit,
        algorithm=algorithm,
        length=bits // 8,
        anonymous=anonymous,
        incoming=incoming,
        r1_count=r1_count,
        key=KeyNumbers.of(key),
    )
    return replace(host, lsi=host.default_lsi(LSI_PREFIX.network_address))
