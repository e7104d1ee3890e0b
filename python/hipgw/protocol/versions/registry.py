"""The versions of HIP that this host speaks."""

from ipaddress import IPv6Address

from hipgw.identity.hit import hit_version
from hipgw.protocol.versions.base import Version
from hipgw.protocol.versions.v1 import V1
from hipgw.protocol.versions.v2 import V2

VERSIONS: dict[int, Version] = {1: V1(), 2: V2()}
"""By number."""


def version_of(hit: IPv6Address) -> Version:
    """The version of everything between a HIT and another one; raises IdentityError for no HIT."""
    return VERSIONS[hit_version(hit)]
