"""A timer that is a file descriptor (timerfd); Python has it from 3.13 on."""

import contextlib
import ctypes
import os
import time

from hipgw.errors import PlatformError

_TFD_NONBLOCK, _TFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


class _TimeSpec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("it_interval", _TimeSpec), ("it_value", _TimeSpec))


class TimerFd:
    """Readable when its time has come, once for each `set`."""

    def __init__(self) -> None:
        """Raises PlatformError."""
        self._fd = int(_libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC))
        if self._fd < 0:
            raise PlatformError(f"No timer: {os.strerror(ctypes.get_errno())}.")

    def fileno(self) -> int:
        """The file descriptor."""
        return self._fd

    def set(self, seconds: float) -> None:
        """Let it be readable in a while, instead of when it was set to before."""
        whole, part = divmod(max(round(seconds * 1e9), 1), 1_000_000_000)
        spec = _TimerSpec(_TimeSpec(0, 0), _TimeSpec(whole, part))
        if _libc.timerfd_settime(self._fd, 0, ctypes.byref(spec), None):
            raise PlatformError(f"The timer: {os.strerror(ctypes.get_errno())}.")

    def acknowledge(self) -> None:
        """Make it unreadable until it is set again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)

    def close(self) -> None:
        """Close the file descriptor."""
        os.close(self._fd)
