"""Named network namespaces, as `ip netns` keeps them, and threads that live in them.

`unshare` and `setns` change the namespace of one thread only, so a process can have a foot in
many namespaces at once; a child process inherits the namespace of the thread that starts it.
"""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from hipgw.errors import PlatformError
from hipgw.platform.threads import in_thread

DIRECTORY = Path("/run/netns")
"""Where iproute2 keeps one mount point for each named namespace."""

_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000
_MS_SHARED = 0x100000
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Namespace:
    """One named network namespace with a thread in it.

    The thread starts child processes, opens sockets and talks netlink on behalf of callers in
    other threads. It also has a mount namespace with the network namespace's own /sys.
    """

    def __init__(self, name: str) -> None:
        """Open the namespace *name*; raises PlatformError if there is none."""
        self.name = name
        try:
            self._fd = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise PlatformError(
                f"There is no network namespace {name}.", hint="`ip netns` lists those that exist."
            ) from None
        self._executor = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix=f"netns-{name}", initializer=self._enter
        )

    @classmethod
    def create(cls, name: str) -> "Namespace":
        """Make a new namespace *name* and open it."""
        create(name)
        return cls(name)

    def fileno(self) -> int:
        """A descriptor of the namespace, for netlink's `net_ns_fd`."""
        return self._fd

    def call(
        self,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Run *function* in the namespace's thread and return its result or raise its error.

        Calls run one after the other; nothing that waits for long belongs here.
        """
        return self._executor.submit(function, *args, **kwargs).result()

    def processes(self) -> list[int]:
        """Ids of the processes whose main thread lives in the namespace, without this one."""
        return processes_in(self._fd)

    def close(self) -> None:
        """End the thread and close the descriptor; the namespace stays."""
        if self._fd >= 0:
            self._executor.shutdown()
            os.close(self._fd)
            self._fd = -1

    def delete(self) -> None:
        """Close it and remove its name; the kernel drops it when nobody uses it any more."""
        self.close()
        delete(self.name)

    def _enter(self) -> None:
        _check(_libc.setns(self._fd, _CLONE_NEWNET), f"Entering network namespace {self.name}")
        # /sys shows the interfaces of the namespace it was mounted in. A container may refuse
        # this; most programs do not look there, so they get along without.
        with contextlib.suppress(PlatformError):
            _check(_libc.unshare(_CLONE_NEWNS), "unshare")
            _mount(b"", b"/", b"none", _MS_SLAVE | _MS_REC)
            _mount(b"sysfs", b"/sys", b"sysfs", 0)


def create(name: str) -> None:
    """Make the network namespace *name*; raises PlatformError if it exists or root is missing."""
    if not name or "/" in name or name in {".", ".."}:
        raise PlatformError(f"{name!r} is no name for a network namespace.")
    place = DIRECTORY / name
    try:
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        _share_directory()
        os.close(os.open(place, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444))
    except FileExistsError:
        raise PlatformError(f"The network namespace {name} exists already.") from None
    except PermissionError as error:
        raise PlatformError(
            f"Cannot make the network namespace {name}: {error.strerror}.", hint="Root is needed."
        ) from error
    try:
        in_thread(_unshare_and_pin, place)
    except PlatformError:
        place.unlink()
        raise


def delete(name: str) -> None:
    """Remove the name of a namespace; nothing happens if there is none."""
    place = DIRECTORY / name
    _libc.umount2(bytes(place), _MNT_DETACH)
    place.unlink(missing_ok=True)


def names() -> list[str]:
    """Names of all namespaces that `ip netns` would list."""
    try:
        return sorted(entry.name for entry in DIRECTORY.iterdir())
    except FileNotFoundError:
        return []


def processes_in(descriptor: int) -> list[int]:
    """Ids of the processes in the network namespace that *descriptor* refers to, without this."""
    wanted = os.fstat(descriptor)
    found = []
    for pid in _process_ids():
        try:
            namespace = Path(f"/proc/{pid}/ns/net").stat()
        except OSError:  # ended meanwhile
            continue
        same = (namespace.st_dev, namespace.st_ino) == (wanted.st_dev, wanted.st_ino)
        if same and pid != os.getpid():
            found.append(pid)
    return found


def leave_network() -> None:
    """Put the calling thread into a new network namespace, which goes with the thread.

    Raises PlatformError.
    """
    _check(_libc.unshare(_CLONE_NEWNET), "Making a network namespace")


def bind_mount(source: Path, target: Path) -> None:
    """Show one file in the place of another, in the mount namespace of the calling thread.

    Raises PlatformError, also in that of the whole machine, where it would be seen by everybody.
    """
    own, main = Path("/proc/thread-self/ns/mnt"), Path("/proc/self/ns/mnt")
    if own.readlink() == main.readlink():
        raise PlatformError(f"{target} is not replaced for the whole machine.")
    _mount(bytes(source), bytes(target), b"none", _MS_BIND)


def _process_ids() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            yield int(entry.name)


def _share_directory() -> None:
    """Make the mounts below DIRECTORY visible in other mount namespaces, as iproute2 does."""
    where = bytes(DIRECTORY)
    if _libc.mount(b"", where, b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    _mount(where, where, b"none", _MS_BIND | _MS_REC)
    _mount(b"", where, b"none", _MS_SHARED | _MS_REC)


def _unshare_and_pin(place: Path) -> None:
    leave_network()
    # thread-self, not self: only this thread was moved into the new namespace.
    _mount(b"/proc/thread-self/ns/net", bytes(place), b"none", _MS_BIND)


def _mount(source: bytes, target: bytes, kind: bytes, flags: int) -> None:
    result = _libc.mount(source, target, kind, ctypes.c_ulong(flags), None)
    _check(result, f"Mounting {target.decode()}")


def _check(result: int, what: str) -> None:
    if result == 0:
        return
    code = ctypes.get_errno()
    hint = "Root (CAP_SYS_ADMIN) is needed." if code in {1, 13} else ""
    raise PlatformError(f"{what}: {os.strerror(code)}.", hint=hint)
