"""The DHT for the daemon: a source of peers, this machine's records in it, and the gateway."""

from hipgw.daemon.naming import NamingServices


def add_dht(services: NamingServices) -> None:
    """Add the DHT as a source, and what else `[dht]` turns on. Raises HipgwError."""
    if services.around.config.dht is None:
        return
    # An HTTP client and server are much code: only who configures a DHT is to load it.
    from hipgw.daemon.dht_parts import add_parts

    add_parts(services, services.around.config.dht)
