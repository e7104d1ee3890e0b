"""What the interface of OpenDHT allows (RFC 6537 §2), and the bounds of this implementation."""

from enum import IntEnum

KEY_LENGTH = 20
"""Octets of the longest key; those of HIP all have as many."""
VALUE_LENGTH = 1024
"""Octets of the longest value."""
TTL_MAX = 604800
"""Seconds: one week."""
SECRET_LENGTH = 40
"""Octets of the secrets that OpenHIP and hipgw draw; others are taken up to SECRET_LENGTH_MAX."""
SECRET_LENGTH_MAX = 255
PLACEMARK_LENGTH = 100
"""Octets of the longest placemark."""
HASH_LENGTH = 20
"""Octets of a SHA-1 hash."""
BODY_LENGTH = 65536
"""Octets of the longest XML body that is read, of a request or an answer."""
VALUES_MAX = 16
"""Values that are answered at once, and that a client asks for at once."""
DEFAULT_PORT = 5851
"""TCP port of OpenDHT's XML-RPC interface."""

ADDRESS_APPLICATION = "hip-addr"
NAME_APPLICATION = "hip-name-hit"
APPLICATIONS = (ADDRESS_APPLICATION, NAME_APPLICATION)
"""What may be stored (RFC 6537 §4.1, §4.2)."""


class ReturnCode(IntEnum):
    """What a server answers a put or rm with (RFC 6537 §2, §3)."""

    SUCCESS = 0
    OVER_CAPACITY = 1
    TRY_AGAIN = 2
    REFUSED = 3
    """The record is not what it claims to be; only servers that look at records say so."""
