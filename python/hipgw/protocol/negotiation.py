"""Choosing among what both sides offer."""

from collections.abc import Iterable, Sequence

ESP_FORMAT = 4095
"""Transport format ESP: the type number of ESP_TRANSFORM (RFC 7401 §5.2.11)."""

OFFERS_MAX = 6
"""Longer lists are read no further (RFC 7401 §5.2.8, RFC 7402 §5.1.2)."""


def choose_dh_group(own: Sequence[int], offered: Iterable[int]) -> int | None:
    """The Responder's choice: the first of *its* groups that the Initiator offers (§5.2.6)."""
    theirs = set(offered)
    return next((group for group in own if group in theirs), None)


def choose_offer(own: Iterable[int], offered: Sequence[int]) -> int | None:
    """The Initiator's choice: the first of the Responder's offers that it has itself (§5.2.8)."""
    mine = set(own)
    return next((offer for offer in offered[:OFFERS_MAX] if offer in mine), None)
