"""What the sources of names say, as the control socket tells it."""

from ipaddress import IPv4Address, IPv6Address

from hipgw.control import api
from hipgw.naming.peers import PeerDirectory
from hipgw.naming.resolver import Resolution, Resolver, plain_name
from hipgw.naming.sources import Found, Rendezvous


async def resolve_answer(
    query: str, resolver: Resolver, directory: PeerDirectory, suffix: str
) -> api.ResolveAnswer:
    """Ask all sources; for a name, also for the HIT that it turns out to have.

    *suffix* is that of HIP's own names, such as `.hip`.
    """
    wanted = _wanted(query, directory, suffix)
    if wanted is None:
        return {"query": query, "name": None, "hit": None, "lsi": None, "sources": []}
    resolutions = [await resolver.ask_all(wanted)]
    peer = directory.find(str(wanted))
    hit = peer.hit if peer is not None else None
    if isinstance(wanted, str):
        found = resolutions[0].found
        hit = hit or (found[0].hit if found else None)
        if hit is not None:
            resolutions.append(await resolver.ask_all(hit))
    if peer is None and hit is not None:
        peer = directory.by_hit(hit)
    return {
        "query": query,
        "name": None if peer is None else peer.name,
        "hit": None if peer is None else str(peer.hit),
        "lsi": None if peer is None else str(peer.lsi),
        "sources": [answer for resolution in resolutions for answer in _answers(resolution)],
    }


def _wanted(query: str, directory: PeerDirectory, suffix: str) -> str | IPv6Address | None:
    """The name or HIT that is asked for; None for an LSI that nobody has here."""
    try:
        return IPv6Address(query)
    except ValueError:
        pass
    try:
        peer = directory.by_destination(IPv4Address(query))
    except ValueError:
        pass
    else:
        return None if peer is None else peer.hit
    return plain_name(query, suffix)


def _answers(resolution: Resolution) -> list[api.SourceAnswer]:
    return [
        {
            "source": answer.source,
            "asked": str(resolution.query),
            "duration_s": answer.duration_s,
            "error": answer.error or None,
            "found": [_found(found) for found in answer.found],
        }
        for answer in resolution.answers
    ]


def _found(found: Found) -> api.FoundAnswer:
    return {
        "hit": str(found.hit),
        "other_hits": [str(hit) for hit in found.other_hits],
        "name": found.name or None,
        "addresses": [str(address) for address in found.addresses],
        "rendezvous": [rendezvous_text(server) for server in found.rendezvous],
        "transport": None if found.udp is None else "udp" if found.udp else "raw",
        "port": found.port,
        "provenance": found.provenance.value,
        "ttl_s": found.ttl_s,
    }


def rendezvous_text(server: Rendezvous) -> str:
    """A rendezvous server for a table: `rvs.example (192.0.2.1)`."""
    addresses = ", ".join(map(str, server.addresses))
    return f"{server.name} ({addresses or 'no address'})" if server.name else addresses
