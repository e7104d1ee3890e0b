"""How often one source, and all together, may have a gateway check signatures."""

from collections import OrderedDict

from hipgw.naming.sources import IPAddress

_SOURCES_MAX = 4096
"""Sources that are told apart; those that have been quiet for longest are forgotten."""
_MINUTE = 60.0


def network_of(source: IPAddress) -> bytes:
    """What sources are told apart by: who has an IPv6 address has a network of 64 bits."""
    return source.packed[:8] if source.version == 6 else source.packed


class SourceRate:
    """A bucket of tokens for each source, filled evenly over a minute, and one for all."""

    def __init__(self, per_source: int, total: int) -> None:
        """Both: calls in a minute, which is also the size of the bucket."""
        self._per_source = float(per_source)
        self._total = float(total)
        self._sources: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._all = (self._total, 0.0)

    def allow(self, source: IPAddress, now: float) -> bool:
        """Take one token from both buckets; False if one of them is empty."""
        key = network_of(source)
        mine = _filled(self._sources.pop(key, (self._per_source, now)), self._per_source, now)
        everybody = _filled(self._all, self._total, now)
        allowed = mine >= 1 and everybody >= 1
        self._sources[key] = (mine - allowed, now)
        if len(self._sources) > _SOURCES_MAX:
            self._sources.popitem(last=False)
        self._all = (everybody - allowed, now)
        return allowed


def _filled(bucket: tuple[float, float], size: float, now: float) -> float:
    level, then = bucket
    return min(size, level + max(0.0, now - then) * size / _MINUTE)
