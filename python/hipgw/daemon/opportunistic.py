"""Calls to addresses, where it is not known beforehand who answers (RFC 7401 §4.1.8)."""

import asyncio
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

from hipgw.daemon.driver import HipDriver
from hipgw.identity.hit import is_hit
from hipgw.identity.lsi import LSI_PREFIX
from hipgw.protocol.effects import Closed, Effect, Established, Failed, Met
from hipgw.protocol.path import IPAddress, Transport


def underlay_address(text: str) -> IPAddress | None:
    """The address that a person means; None for what is a name, HIT or LSI."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if is_hit(address) else address
    return None if address in LSI_PREFIX else address


_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has come of a call."""

    peer_hit: IPv6Address | None
    """Who has answered, if anybody."""
    duration_s: float | None = None
    """Of the base exchange."""
    reason: str | None = None
    """Why there is no association."""


class _Call:
    """One that is not over yet."""

    def __init__(self, over: asyncio.Future[Outcome]) -> None:
        self.over = over
        self.hit: IPv6Address | None = None

    def end(self, duration_s: float | None, reason: str | None) -> None:
        if not self.over.done():
            self.over.set_result(Outcome(self.hit, duration_s, reason))


class OpportunisticCalls:
    """Begins them, and tells those who wait what comes of them."""

    def __init__(self, driver: HipDriver, transport: Transport) -> None:
        self._driver = driver
        self._transport = transport
        self._asking: dict[IPAddress, list[_Call]] = {}
        """Those that nobody has answered yet."""
        self._met: dict[IPv6Address, list[_Call]] = {}

    async def call(self, address: IPAddress, timeout_s: float) -> Outcome:
        """Call whoever is at an address, and wait; 0 does not wait.

        Raises LocalProtocolError if that is not allowed, or there is no way to there.
        """
        if not self._driver.machine.is_asking(address):
            self._driver.call_whoever(address, self._transport)
        if not timeout_s:
            return Outcome(None)
        call = _Call(asyncio.get_running_loop().create_future())
        self._asking.setdefault(address, []).append(call)
        try:
            return await asyncio.wait_for(call.over, timeout_s)
        except TimeoutError:
            return Outcome(call.hit, reason=f"no answer within {timeout_s:g} s")
        finally:
            _take_out(self._asking, address, call)
            if call.hit is not None:
                _take_out(self._met, call.hit, call)

    def handle_event(self, event: Effect) -> None:
        """Take note of what has happened."""
        match event:
            case Met(peer_hit=hit, path=path):
                for call in self._asking.pop(path.remote, ()):
                    call.hit = hit
                    self._met.setdefault(hit, []).append(call)
            case Established(peer_hit=hit, duration=duration_s):
                for call in self._met.pop(hit, ()):
                    call.end(duration_s, None)
            case Failed(peer_hit=None, reason=reason):
                # It does not say which: that which is not under way any more.
                machine = self._driver.machine
                for address in [one for one in self._asking if not machine.is_asking(one)]:
                    for call in self._asking.pop(address):
                        call.end(None, reason)
            case (
                Failed(peer_hit=IPv6Address() as hit, reason=reason)
                | Closed(peer_hit=hit, reason=reason)
            ):
                for call in self._met.pop(hit, ()):
                    call.end(None, reason)
            case _:
                pass


def _take_out(table: dict[_Key, list[_Call]], key: _Key, call: _Call) -> None:
    calls = table.get(key, [])
    if call in calls:
        calls.remove(call)
        if not calls:
            del table[key]
