"""Becoming an ordinary user that may still set up networks."""

import contextlib
import ctypes
import os
import pwd
import resource
import struct
from collections.abc import Iterator

from hipgw.errors import PlatformError

CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
CAP_SYS_NICE = 23
_KEPT = 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW

_PR_SET_KEEPCAPS = 8
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def protect_memory() -> None:
    """Keep other processes of the same user, and core dumps, away from the keys in memory."""
    _prctl(_PR_SET_DUMPABLE, 0)


def user_and_group(name: str) -> tuple[int, int]:
    """Ids of a user and its group. Raises PlatformError."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise PlatformError(
            f"There is no user {name}.", hint="`daemon.user` names the user that hipgw becomes."
        ) from None
    return entry.pw_uid, entry.pw_gid


def drop(name: str, *, realtime: bool = False) -> None:
    """Become a user with CAP_NET_ADMIN and CAP_NET_RAW and nothing more, for good.

    *realtime*: its threads may still ask for the least real-time priority. A limit that outlasts
    this says so; where that may not be raised, CAP_SYS_NICE is kept, if it is there.

    To be called while the process has one thread: capabilities belong to threads, and later
    threads inherit them. Raises PlatformError.
    """
    user_id, group_id = user_and_group(name)
    kept = _KEPT
    if realtime and not _raise_realtime_limit():
        kept |= effective_capabilities() & 1 << CAP_SYS_NICE
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if os.geteuid() == 0 and user_id != 0:
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(group_id, group_id, group_id)
        os.setresuid(user_id, user_id, user_id)
    if os.geteuid() != 0 or user_id != 0:
        _set_capabilities(kept)
    protect_memory()


@contextlib.contextmanager
def handed_down() -> Iterator[None]:
    """Programs that this thread starts meanwhile have the capabilities that `drop` has kept.

    Without this, only root's programs have any. Raises PlatformError.
    """
    if os.geteuid() == 0:
        yield
        return
    kept = effective_capabilities("thread-self")
    capabilities = [number for number in (CAP_NET_ADMIN, CAP_NET_RAW) if kept >> number & 1]
    _set_capabilities(kept, inheritable=kept)
    try:
        for number in capabilities:
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)
        yield
    finally:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        _set_capabilities(kept)


def effective_capabilities(thread: str = "self") -> int:
    """The effective capabilities of a thread, as a bit mask."""
    with open(f"/proc/{thread}/status") as file:  # noqa: PTH123 - a /proc entry
        for line in file:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0


def _raise_realtime_limit() -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_RTPRIO)
    if soft == 0:
        try:
            resource.setrlimit(resource.RLIMIT_RTPRIO, (1, hard or 1))
        except (ValueError, OSError):
            return False
    return True


def _set_capabilities(mask: int, *, inheritable: int = 0) -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    # Two records of effective, permitted and inheritable: the low and the high 32 bits.
    words = [
        value >> shift & 0xFFFFFFFF for shift in (0, 32) for value in (mask, mask, inheritable)
    ]
    data = ctypes.create_string_buffer(struct.pack("=6I", *words))
    if _libc.capset(header, data) != 0:
        code = ctypes.get_errno()
        raise PlatformError(
            f"CAP_NET_ADMIN and CAP_NET_RAW cannot be kept: {os.strerror(code)}.",
            hint="Start hipgw as root, or give its service these capabilities.",
        )


def _prctl(option: int, value: int, third: int = 0) -> None:
    if _libc.prctl(option, value, third, 0, 0) != 0:
        raise PlatformError(f"prctl {option}: {os.strerror(ctypes.get_errno())}.")
