"""A host that moves: registered with rendezvous servers, by which it can be called (RFC 8004)."""

from hipgw.roles.service_client import ServiceClientRole


class RendezvousClientRole(ServiceClientRole):
    """Keeps registered with every rendezvous server of this host.

    Where it is each of them knows by the association that this keeps up: a move is told to servers
    like to all peers (RFC 8046 §3.2.3).
    """

    name = "rendezvous client"
    registrar = "rendezvous server"
