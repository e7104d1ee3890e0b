"""Local Scope Identifiers: IPv4 names of peers that are good on this host only (RFC 7401 §1.3)."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from hipgw.errors import IdentityError

LSI_PREFIX = IPv4Network("1.0.0.0/8")
"""Where LSIs live, by long custom of HIP stacks."""

LSI_TABLE_LIMIT = 65536
"""Most LSIs that one table hands out, unless it is told otherwise."""

_LOW_BITS = 24
_FIRST = 1
_LAST = (1 << _LOW_BITS) - 2
"""All zeros would be the network's own address, all ones its broadcast address."""


def is_lsi(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address can be an LSI."""
    return (
        isinstance(address, IPv4Address)
        and address in LSI_PREFIX
        and _FIRST <= int(address) - int(LSI_PREFIX.network_address) <= _LAST
    )


def default_lsi(hit: IPv6Address) -> IPv4Address:
    """Return 1.x.y.z with the low 24 bits of the HIT, or the nearest usable address."""
    return _lsi(min(max(int(hit) & ((1 << _LOW_BITS) - 1), _FIRST), _LAST))


class LsiTable:
    """LSIs and the HITs they stand for, one to one, bounded.

    The same HITs assigned in the same order always get the same LSIs.
    """

    def __init__(self, limit: int = LSI_TABLE_LIMIT) -> None:
        self._limit = limit
        self._hit_by_lsi: dict[IPv4Address, IPv6Address] = {}
        self._lsi_by_hit: dict[IPv6Address, IPv4Address] = {}

    def assign(self, hit: IPv6Address, wanted: IPv4Address | None = None) -> IPv4Address:
        """Return the LSI of a HIT, giving it one if it has none.

        A `wanted` (configured) LSI is given or refused. Without one the HIT gets its default LSI,
        or the next free address above it if another HIT has that. Raises IdentityError if the
        wanted LSI is taken or no LSI, or if the table is full.
        """
        known = self._lsi_by_hit.get(hit)
        if known is not None and wanted in (None, known):
            return known
        if wanted is not None:
            self._check_wanted(hit, wanted)
        if known is None and len(self._lsi_by_hit) >= self._limit:
            raise IdentityError(f"all {self._limit} LSIs are in use")
        self.remove(hit)
        lsi = wanted if wanted is not None else self._free_lsi(hit)
        self._lsi_by_hit[hit] = lsi
        self._hit_by_lsi[lsi] = hit
        return lsi

    def remove(self, hit: IPv6Address) -> None:
        """Forget a HIT and free its LSI; nothing happens if it has none."""
        lsi = self._lsi_by_hit.pop(hit, None)
        if lsi is not None:
            del self._hit_by_lsi[lsi]

    def hit_of(self, lsi: IPv4Address) -> IPv6Address | None:
        """Return the HIT that an LSI stands for."""
        return self._hit_by_lsi.get(lsi)

    def lsi_of(self, hit: IPv6Address) -> IPv4Address | None:
        """Return the LSI that a HIT has."""
        return self._lsi_by_hit.get(hit)

    def __len__(self) -> int:
        return len(self._lsi_by_hit)

    def __iter__(self) -> Iterator[tuple[IPv4Address, IPv6Address]]:
        return iter(list(self._hit_by_lsi.items()))

    def _check_wanted(self, hit: IPv6Address, wanted: IPv4Address) -> None:
        if not is_lsi(wanted):
            raise IdentityError(
                f"{wanted} cannot be an LSI",
                hint=f"LSIs are addresses of {LSI_PREFIX}, the first and the last one excepted",
            )
        holder = self._hit_by_lsi.get(wanted, hit)
        if holder != hit:
            raise IdentityError(f"the LSI {wanted} is that of {holder} already")

    def _free_lsi(self, hit: IPv6Address) -> IPv4Address:
        low = int(default_lsi(hit)) - int(LSI_PREFIX.network_address)
        # The table is bounded below the number of addresses, so there is a free one.
        for _ in range(len(self._hit_by_lsi) + 1):
            lsi = _lsi(low)
            if lsi not in self._hit_by_lsi:
                return lsi
            low = _FIRST if low == _LAST else low + 1
        raise IdentityError("no LSI is free")


def _lsi(low: int) -> IPv4Address:
    return IPv4Address(int(LSI_PREFIX.network_address) + low)
