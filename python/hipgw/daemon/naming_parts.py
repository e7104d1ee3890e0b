"""What of naming is built for a configuration: one function for each subject."""

from collections.abc import Callable

from hipgw.daemon.dht import add_dht
from hipgw.daemon.dns import add_dns
from hipgw.daemon.naming import NamingServices


def _add_fleet(services: NamingServices) -> None:
    if services.around.config.fleet is not None:
        # Not at the top: its HTTP client takes longer to import than all else together.
        from hipgw.daemon.fleet import add_fleet

        add_fleet(services)


PARTS: tuple[Callable[[NamingServices], None], ...] = (_add_fleet, add_dns, add_dht)
"""Called in this order, while the daemon is root; what is not configured adds nothing."""


def build(services: NamingServices) -> None:
    """Add all sources and parts. Raises HipgwError for what cannot be used."""
    for part in PARTS:
        part(services)
