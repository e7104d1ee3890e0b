"""What of naming is built for a configuration: one function for each subject."""

from collections.abc import Callable

from hipgw.daemon.dns import add_dns
from hipgw.daemon.naming import NamingServices

PARTS: tuple[Callable[[NamingServices], None], ...] = (add_dns,)
"""Called in this order, while the daemon is root; what is not configured adds nothing."""


def build(services: NamingServices) -> None:
    """Add all sources and parts. Raises HipgwError for what cannot be used."""
    for part in PARTS:
        part(services)
