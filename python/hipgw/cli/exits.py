"""Exit statuses of `hipgw`, and how errors become one."""

from enum import IntEnum

from hipgw.errors import ConfigError, HipgwError


class Exit(IntEnum):
    """What a script can rely on."""

    OK = 0
    NO = 1
    """The answer is no, or the command failed: no reply, not established, a file in the way."""
    USAGE = 2
    """Unknown command, option or peer."""
    NOT_REACHABLE = 3
    """No daemon answers at the control socket, or this user may not ask it."""
    CONFIG = 4
    """The configuration, or the key file that it names, cannot be used."""
    INTERRUPTED = 130
    """Ended by Ctrl-C."""


MEANINGS = {
    Exit.OK: "Done, and the answer is yes.",
    Exit.NO: "The answer is no (no reply, not established, not healthy), or the command failed.",
    Exit.USAGE: "Unknown command, option or peer.",
    Exit.NOT_REACHABLE: "No daemon answers at the control socket, or this user may not ask it.",
    Exit.CONFIG: "The configuration, or the key file that it names, cannot be used.",
    Exit.INTERRUPTED: "Ended by Ctrl-C.",
}


def exit_of(error: HipgwError) -> Exit:
    """The exit status for an error."""
    # Not at the top: most commands never need it, and --help should be quick.
    from hipgw.control.errors import ErrorCode, NotReachableError, RequestError

    match error:
        case ConfigError():
            return Exit.CONFIG
        case NotReachableError():
            return Exit.NOT_REACHABLE
        case RequestError(code=ErrorCode.BUSY):
            return Exit.NOT_REACHABLE
        case RequestError(code=ErrorCode.UNKNOWN_PEER | ErrorCode.BAD_PARAMS):
            return Exit.USAGE
        case _:
            return Exit.NO
