"""The exceptions that hipgw raises, one tree.

Bad bytes from a peer never raise out of the protocol machine: they become a counted
drop reason there (see `hipgw.protocol.drops`).
"""


class HipgwError(Exception):
    """Base of everything hipgw raises on purpose; its text is fit to show to a user.

    `hint` says what to do about it, or is empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(HipgwError):
    """The configuration cannot be used; the text names the file and the key path."""


class WireError(HipgwError):
    """Bytes from the network that break a format rule (packet, parameter and offset are named)."""


class IdentityError(HipgwError):
    """A Host Identity, key file, signature or key exchange value that cannot be used."""


class LocalProtocolError(HipgwError):
    """The caller asked the protocol machine for something its state does not allow."""


class DataPlaneError(HipgwError):
    """The data plane refused a request or stopped."""


class PlatformError(HipgwError):
    """The operating system refused or lacks something that hipgw needs."""


class NamingError(HipgwError):
    """A source of names cannot be asked, or answers what cannot be used."""


class ControlError(HipgwError):
    """The control socket cannot be reached, or the daemon refused a request."""


class LabError(HipgwError):
    """A lab network cannot be built, or a command in it failed."""
