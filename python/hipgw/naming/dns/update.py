"""Changes records of a host on the server of its zone (dynamic update, RFC 2136)."""

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.update

from hipgw.errors import NamingError
from hipgw.naming.dns.servers import NameServer
from hipgw.naming.dns.tsig import TsigKey
from hipgw.naming.dns.zone import Entry
from hipgw.naming.trouble import reason_of

_PATIENCE_S = 10.0
_KINDS = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}


def zone_of(owner: dns.name.Name, server: NameServer) -> dns.name.Name:
    """The zone on a server that a name lies in; NamingError if it has none or does not say."""
    query = dns.message.make_query(owner, dns.rdatatype.SOA)
    response = _ask(query, server)
    for rrset in (*response.answer, *response.authority):
        if rrset.rdtype == dns.rdatatype.SOA and owner.is_subdomain(rrset.name):
            return rrset.name
    raise NamingError(
        f"{server} has no zone for {owner}", hint="ask the primary server, or give the zone"
    )


def publish(
    entry: Entry, zone: dns.name.Name, server: NameServer, key: TsigKey | None = None
) -> None:
    """Put a host's HIP record, and its addresses if there are some, in the place of older ones.

    Raises NamingError.
    """
    message = _message(entry.owner, zone, key)
    message.replace(entry.owner, entry.ttl_s, entry.record)
    for version, kind in _KINDS.items():
        texts = [str(address) for address in entry.addresses if address.version == version]
        if texts:
            records = dns.rdataset.from_text("IN", kind, entry.ttl_s, *texts)
            message.replace(entry.owner, records)
    _send(message, server)


def withdraw(
    owner: dns.name.Name, zone: dns.name.Name, server: NameServer, key: TsigKey | None = None
) -> None:
    """Remove a host's HIP records; its addresses stay. Raises NamingError."""
    message = _message(owner, zone, key)
    message.delete(owner, dns.rdatatype.HIP)
    _send(message, server)


def _message(
    owner: dns.name.Name, zone: dns.name.Name, key: TsigKey | None
) -> dns.update.UpdateMessage:
    if not owner.is_subdomain(zone):
        raise NamingError(f"{owner} does not lie in the zone {zone}")
    message = dns.update.UpdateMessage(zone)
    if key is not None:
        message.use_tsig(key.key)
    return message


def _send(message: dns.update.UpdateMessage, server: NameServer) -> None:
    response = _ask(message, server)
    if response.rcode() != dns.rcode.NOERROR:
        name = dns.rcode.to_text(response.rcode())
        raise NamingError(
            f"{server} refuses the update: {name}",
            hint="it may want a TSIG key, or allow this key something else",
        )


def _ask(message: dns.message.Message, server: NameServer) -> dns.message.Message:
    try:
        return dns.query.tcp(message, str(server.address), _PATIENCE_S, server.port)
    except dns.tsig.PeerBadKey:
        why = "it does not know the TSIG key"
    except dns.tsig.PeerBadSignature:
        why = "the secret of the TSIG key is another one there"
    except dns.tsig.PeerBadTime:
        why = "its clock and that of this machine differ"
    except (OSError, EOFError, dns.exception.DNSException) as error:
        why = reason_of(error)
    raise NamingError(f"{server} cannot be used: {why}")
