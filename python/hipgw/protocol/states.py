"""The association states of RFC 7401 §4.4.2."""

from enum import Enum


class State(Enum):
    """State of an association (RFC 7401 §4.4.2)."""

    UNASSOCIATED = "UNASSOCIATED"
    I1_SENT = "I1-SENT"
    I2_SENT = "I2-SENT"
    R2_SENT = "R2-SENT"
    ESTABLISHED = "ESTABLISHED"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    E_FAILED = "E-FAILED"
