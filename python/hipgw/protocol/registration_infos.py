"""Registrations as others may see them."""

from collections.abc import Iterator

from hipgw.protocol.core import Core
from hipgw.protocol.path import IPAddress
from hipgw.protocol.registration import Grant, RegistrationInfo

_Place = tuple[IPAddress, int]


def everybody(core: Core) -> Iterator[RegistrationInfo]:
    """Every registration in force, of this host and with it."""
    yield from awake(core)
    if core.rendezvous is not None:
        yield from core.rendezvous.registrations()


def awake(core: Core) -> Iterator[RegistrationInfo]:
    """The same without the clients of the rendezvous server that are in compact form."""
    for one in core.associations.values():
        granted, held = one.registrations.granted, one.registrations.held
        path = one.path
        seen = (path.remote, path.remote_port) if path is not None else None
        lent = tuple(port.relayed for port in granted.ports)
        sides: tuple[tuple[bool, dict[int, Grant], _Place | None, tuple[_Place, ...]], ...] = (
            (True, granted.grants, seen, lent),
            (False, held.grants, held.mapped, tuple(held.relayed)),
        )
        for registrar, grants, mapped, ports in sides:
            for grant in grants.values():
                yield RegistrationInfo(
                    peer_hit=one.peer_hit,
                    registrar=registrar,
                    reg_type=grant.reg_type,
                    lifetime_s=grant.lifetime_s,
                    expires=grant.expires,
                    mapped=mapped,
                    relayed=ports,
                )
