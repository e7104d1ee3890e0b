"""Why something on the network could not be asked, in words for people."""

import os
import ssl


def reason_of(error: BaseException) -> str:
    """What the system says of an error, without the numbers and addresses around it."""
    number = getattr(error, "errno", None)
    # The numbers of TLS are others.
    tls = isinstance(getattr(error, "os_error", error), ssl.SSLError)
    if isinstance(number, int) and number > 0 and not tls:
        return os.strerror(number)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
