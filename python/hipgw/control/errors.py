"""What can go wrong with a request, by the `code` that travels in the answer."""

from enum import StrEnum

from hipgw.errors import ControlError


class ErrorCode(StrEnum):
    """The `code` of an error answer."""

    BAD_REQUEST = "bad_request"
    """Not a JSON object with `id`, `method` and `params`."""
    TOO_LONG = "too_long"
    """The line is longer than the daemon reads; it closes the connection."""
    UNKNOWN_METHOD = "unknown_method"
    """There is no method of this name."""
    BAD_PARAMS = "bad_params"
    """A parameter is unknown, missing, of the wrong type or out of range."""
    UNKNOWN_PEER = "unknown_peer"
    """No peer has this name, HIT or LSI."""
    REFUSED = "refused"
    """The daemon understood, but cannot do it now; the message says why."""
    BUSY = "busy"
    """Too many clients; the daemon closes the connection."""
    INTERNAL = "internal"
    """A fault in the daemon; its log has the details."""


class RequestError(ControlError):
    """The daemon refused a request."""

    def __init__(self, code: ErrorCode | str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = str(code)


class UnknownPeerError(RequestError):
    """No peer has this name, HIT or LSI."""

    def __init__(self, peer: str) -> None:
        super().__init__(
            ErrorCode.UNKNOWN_PEER,
            f"no peer is called {peer!r}",
            hint="`hipgw peers` lists names, HITs and LSIs",
        )


class NotReachableError(ControlError):
    """No daemon answers at the control socket."""
