"""A host behind a NAT: registered with relays, by which it can be called (RFC 9028 §4.1)."""

from hipgw.roles.service_client import ServiceClientRole


class RelayClientRole(ServiceClientRole):
    """Keeps registered with every relay of this host."""

    name = "relay client"
    registrar = "relay"
