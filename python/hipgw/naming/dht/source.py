"""The DHT as a source of names (RFC 6537 §4, §5)."""

from collections import OrderedDict
from collections.abc import Sequence
from ipaddress import IPv6Address

from hipgw.logs import packet_path_logger
from hipgw.naming.dht.client import DhtClient, ask_all
from hipgw.naming.dht.hdrr import (
    AddressRecord,
    RecordError,
    Refusal,
    peek_sequence,
    read_address_record,
    read_name_record,
)
from hipgw.naming.dht.keys import hit_key, name_key
from hipgw.naming.dht.limits import ADDRESS_APPLICATION, NAME_APPLICATION
from hipgw.naming.sources import Found, Provenance, Rendezvous

NAME = "dht"
ANSWER_TTL_S = 300.0
"""How long an answer is used: the record may live a week, and its owner move at any time."""
VERIFIED_MAX = 16
"""Signatures that are checked for one look-up; what is behind them is not looked at."""
NAMED_MAX = 4
"""HITs that are looked at of those that are stored under one name."""
_REMEMBERED_MAX = 65536

_log = packet_path_logger(__name__)


class DhtSource:
    """Looks up names and HITs at the configured servers, and believes no server anything."""

    name = NAME

    def __init__(self, client: DhtClient, *, weak_keys: bool = False) -> None:
        self._client = client
        self._weak_keys = weak_keys
        self._seen: OrderedDict[IPv6Address, int] = OrderedDict()
        """The greatest Update ID seen of each HIT."""

    async def by_hit(self, hit: IPv6Address) -> Sequence[Found]:
        """Where the owner of a HIT says that it is."""
        record = await self.newest(hit)
        return () if record is None else (found_of(record),)

    async def by_name(self, name: str) -> Sequence[Found]:
        """Who is said to have a name, by anybody, and where those say that they are."""
        hits: dict[IPv6Address, None] = {}
        for value in await ask_all(self._client, name_key(name), NAME_APPLICATION):
            try:
                hits[read_name_record(value).hit] = None
            except RecordError as error:
                self._refused(name, error)
        found = []
        for hit in list(hits)[:NAMED_MAX]:
            record = await self.newest(hit)
            one = Found(hit, NAME, Provenance.UNSIGNED, ANSWER_TTL_S, name=name)
            found.append(one if record is None else found_of(record, name))
        return found

    async def newest(self, hit: IPv6Address) -> AddressRecord | None:
        """The newest record of a HIT that holds good; None if there is none."""
        key = hit_key(hit)
        values = await ask_all(self._client, key, ADDRESS_APPLICATION)
        values.sort(key=peek_sequence, reverse=True)
        for value in values[:VERIFIED_MAX]:
            try:
                record = read_address_record(value, key, weak_keys=self._weak_keys)
                if record.hit != hit:  # the same 100 bits, and the other version's prefix
                    raise RecordError(Refusal.WRONG_KEY)
                self._note(record)
            except RecordError as error:
                self._refused(str(hit), error)
                continue
            return record
        return None

    def _note(self, record: AddressRecord) -> None:
        """Refuse what is older than what was seen: somebody has put it there again."""
        seen = self._seen.pop(record.hit, -1)
        self._seen[record.hit] = max(seen, record.sequence)
        if len(self._seen) > _REMEMBERED_MAX:
            self._seen.popitem(last=False)
        if record.sequence < seen:
            raise RecordError(Refusal.STALE, f"Update ID {record.sequence}, {seen} was seen")

    def _refused(self, query: str, error: RecordError) -> None:
        _log.warning(
            "a record of the DHT is not used", extra={"query": query, "reason": str(error)}
        )


def found_of(record: AddressRecord, name: str = "") -> Found:
    """What a verified record says, as an answer. Nobody has signed the *name*."""
    return Found(
        record.hit,
        NAME,
        Provenance.UNSIGNED if name else Provenance.SELF_SIGNED,
        min(ANSWER_TTL_S, float(record.lifetime_s)),
        name=name,
        addresses=record.addresses,
        rendezvous=tuple(Rendezvous((address,)) for address in record.rendezvous),
        udp=True if record.udp_port is not None else None,
        port=record.udp_port,
    )
