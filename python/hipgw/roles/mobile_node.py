"""A host behind mobile routers, which tell its correspondents where it is."""

from hipgw.roles.service_client import ServiceClientRole


class MobileNodeRole(ServiceClientRole):
    """Keeps registered with every mobile router of this host."""

    name = "mobile node"
    registrar = "mobile router"
