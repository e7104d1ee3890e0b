"""Notify Message Types."""

from enum import IntEnum


class NotifyType(IntEnum):
    """What a NOTIFICATION says; below 16384 an error, from there on a status."""

    UNSUPPORTED_CRITICAL_PARAMETER_TYPE = 1
    INVALID_SYNTAX = 7
    NO_DH_PROPOSAL_CHOSEN = 14
    INVALID_DH_CHOSEN = 15
    NO_HIP_PROPOSAL_CHOSEN = 16
    INVALID_HIP_CIPHER_CHOSEN = 17
    NO_ESP_PROPOSAL_CHOSEN = 18
    """RFC 7402 §5.1.3."""
    INVALID_ESP_TRANSFORM_CHOSEN = 19
    """RFC 7402 §5.1.3."""
    UNSUPPORTED_HIT_SUITE = 20
    AUTHENTICATION_FAILED = 24
    CHECKSUM_FAILED = 26
    HIP_MAC_FAILED = 28
    ENCRYPTION_FAILED = 32
    INVALID_HIT = 40
    BLOCKED_BY_POLICY = 42
    RESPONDER_BUSY_PLEASE_RETRY = 44
    LOCATOR_TYPE_UNSUPPORTED = 46
    """RFC 8046 §5.3."""
    CREDENTIALS_REQUIRED = 48
    """RFC 8002 §5."""
    INVALID_CERTIFICATE = 50
    """RFC 8002 §5."""
    REG_REQUIRED = 51
    """RFC 8003 §3.1."""
    NO_VALID_NAT_TRAVERSAL_MODE_PARAMETER = 60
    """RFC 5770 §5.10."""
    CONNECTIVITY_CHECKS_FAILED = 61
    """RFC 5770 §5.10."""
    MESSAGE_NOT_RELAYED = 62
    """RFC 5770 §5.10."""
    SERVER_REFLEXIVE_CANDIDATE_ALLOCATION_FAILED = 63
    """RFC 9028 §5.10."""
    RVS_HMAC_PROHIBITED_WITH_RELAY = 64
    """RFC 9028 §5.10."""
    I2_ACKNOWLEDGEMENT = 16384
    NAT_KEEPALIVE = 16385
    """RFC 5770: the keepalive of associations without ICE; see the note below."""


FIRST_STATUS = 16384
"""Notify Message Types from here on are statuses, not errors (RFC 7401 §5.2.19)."""


def is_error(notify_type: int) -> bool:
    """Tell whether *notify_type* lies in the error range (RFC 7401 §5.2.19)."""
    return notify_type < FIRST_STATUS


def name_of(notify_type: int) -> str:
    """Return the name of *notify_type*, or its number where it has none."""
    try:
        return NotifyType(notify_type).name
    except ValueError:
        return str(notify_type)
