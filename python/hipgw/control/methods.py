"""The methods of the control socket: which parameters each takes, and within what bounds."""

import math
from dataclasses import dataclass, field
from typing import Any

from hipgw.control.api import EVENT_KINDS
from hipgw.control.errors import ErrorCode, RequestError

PEER_LIMIT = 255
"""Characters of a peer's name, HIT or LSI."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a method."""

    name: str
    kind: type
    """`str`, `int`, `float`, or `list` of texts."""
    meaning: str
    default: Any = None
    required: bool = False
    minimum: float = 0
    maximum: float = 0
    """Of the number, or of the length."""
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> Any:
        """Return a value fit for the daemon. Raises RequestError."""
        if self.kind is float and type(value) is int:
            # An int of a thousand digits does not fit a float; it is out of range anyway.
            value = float(value) if abs(value) <= self.maximum else math.inf
        # The exact type, because True is an int too.
        fits: bool = type(value) is self.kind
        if not fits:
            raise self._refuse(f"has to be {_KIND_NAMES[self.kind]}")
        if self.kind in (int, float):
            if not self.minimum <= value <= self.maximum:
                raise self._refuse(f"has to lie between {self.minimum:g} and {self.maximum:g}")
        elif not self.minimum <= len(value) <= self.maximum:
            raise self._refuse(f"has to have {self.minimum:g} to {self.maximum:g} elements")
        if self.kind is list and not all(
            isinstance(item, str) and item in self.choices for item in value
        ):
            raise self._refuse(f"may have: {', '.join(self.choices)}")
        return value

    def _refuse(self, what: str) -> RequestError:
        return RequestError(ErrorCode.BAD_PARAMS, f"parameter {self.name!r} {what}")


_KIND_NAMES = {str: "text", int: "a whole number", float: "a number", list: "a list"}


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the control socket."""

    name: str
    meaning: str
    answer: str
    """The name of its shape in `hipgw.control.api`."""
    parameters: tuple[Parameter, ...] = field(default=())

    def check(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return every parameter, with defaults filled in. Raises RequestError."""
        known = {parameter.name for parameter in self.parameters}
        for name in params:
            if name not in known:
                raise RequestError(
                    ErrorCode.BAD_PARAMS,
                    f"{self.name} has no parameter {name[:40]!r}",
                    hint=f"it takes: {', '.join(sorted(known))}" if known else "it takes none",
                )
        checked = {}
        for parameter in self.parameters:
            if parameter.name in params:
                checked[parameter.name] = parameter.check(params[parameter.name])
            elif parameter.required:
                raise RequestError(
                    ErrorCode.BAD_PARAMS, f"{self.name} needs the parameter {parameter.name!r}"
                )
            else:
                checked[parameter.name] = parameter.default
        return checked


_PEER = Parameter(
    "peer", str, "Name, HIT or LSI of the peer.", required=True, minimum=1, maximum=PEER_LIMIT
)


def _timeout(default_s: float, meaning: str) -> Parameter:
    return Parameter("timeout_s", float, meaning, default=default_s, minimum=0, maximum=300)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("status", "The daemon at a glance, with what ails it.", "StatusAnswer"),
        Method("peers", "The peers and how they are reached.", "list of PeerAnswer"),
        Method("associations", "The HIP associations.", "list of AssociationAnswer"),
        Method("sa", "The ESP security associations, without keys.", "list of SaAnswer"),
        Method("mac_table", "MAC addresses learned from peers.", "list of MacAnswer"),
        Method("counters", "Everything that is counted.", "CountersAnswer"),
        Method("addresses", "Own addresses, and those of the peers.", "AddressesAnswer"),
        Method(
            "registrations",
            "Services used and offered, such as relays.",
            "list of RegistrationAnswer",
        ),
        Method(
            "endbox",
            "The shared LAN: who owns which addresses, and who delivers.",
            "EndboxAnswer, or null without the role",
        ),
        Method(
            "mobile_router",
            "Where a mobile router is, and how packets pass it.",
            "MobileRouterAnswer, or null without the role",
        ),
        Method(
            "mobile_router_clients",
            "The clients of a mobile router; of very many the first thousand.",
            "list of MobileClientAnswer, or null without the role",
        ),
        Method(
            "ping",
            "Authenticated echoes over HIP; each answer comes as a `reply` line of its own.",
            "PingReplyAnswer …, then PingSummary",
            (
                _PEER,
                Parameter("count", int, "Echoes to send.", default=4, minimum=1, maximum=100000),
                Parameter(
                    "interval_s",
                    float,
                    "From one echo to the next.",
                    default=1.0,
                    minimum=0.05,
                    maximum=3600,
                ),
                _timeout(2.0, "Longest wait for each answer."),
            ),
        ),
        Method(
            "fleet",
            "The fleet and its directory; null without one.",
            "FleetAnswer",
        ),
        Method(
            "resolve",
            "Ask all sources of names, and tell what each says.",
            "ResolveAnswer",
            (
                Parameter(
                    "query",
                    str,
                    "A name (with or without `.hip`), HIT or LSI.",
                    required=True,
                    minimum=1,
                    maximum=PEER_LIMIT,
                ),
            ),
        ),
        Method(
            "connect",
            "Make an association and wait for it.",
            "ConnectAnswer",
            (_PEER, _timeout(15.0, "Longest wait; 0 answers at once.")),
        ),
        Method(
            "close",
            "Close an association.",
            "CloseAnswer",
            (_PEER, _timeout(5.0, "Longest wait for the peer's CLOSE_ACK; 0 answers at once.")),
        ),
        Method(
            "rekey",
            "Replace the ESP keys of an association.",
            "RekeyAnswer",
            (_PEER, _timeout(5.0, "Longest wait for the new ones; 0 answers at once.")),
        ),
        Method(
            "subscribe",
            "From now on, send every event as an `event` line, until the connection ends.",
            "the kinds, then EventAnswer …",
            (
                Parameter(
                    "kinds",
                    list,
                    "Only these kinds of events; default: all.",
                    default=list(EVENT_KINDS),
                    minimum=1,
                    maximum=len(EVENT_KINDS),
                    choices=EVENT_KINDS,
                ),
            ),
        ),
        Method("stop", "Stop the daemon.", "null"),
    )
}
