"""Telling labs that are in use from those that a killed process left behind, and removing these.

A lab `NAME` of process `PID` owns the namespaces `hipgw-NAME-PID-HOST`, one directory, and the lock
file `NAME-PID`, which names that directory and is locked as long as the process lives.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

from hipgw.errors import LabError
from hipgw.platform import netns

LOCKS = Path("/run/hipgw-lab")
"""One place for everybody: two processes need not agree on where temporary files go."""

NAMESPACE = re.compile(r"hipgw-(?P<lab>[a-z][a-z0-9_]*-\d+)-.+")
_LAB = re.compile(r"[a-z][a-z0-9_]*-\d+")
_DIRECTORY_PREFIX = "hipgw-lab-"
_PATIENCE_S = 2.0


def directory_of(lab: str) -> Path:
    """The directory of the lab *lab* ("NAME-PID"). Raises LabError if there is no such lab."""
    try:
        return Path((LOCKS / lab).read_text())
    except FileNotFoundError:
        raise LabError(f"There is no lab {lab}.") from None


def claim(lab: str) -> tuple[int, Path]:
    """Take the name *lab* ("NAME-PID") and make its directory.

    Returns a descriptor that holds the lock until it is closed, and the directory. Raises
    FileExistsError if the name is taken.
    """
    LOCKS.mkdir(mode=0o755, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{_DIRECTORY_PREFIX}{lab}-"))
    # Daemons that have become another user reach their control sockets in it.
    directory.chmod(0o755)
    descriptor, draft = tempfile.mkstemp(dir=LOCKS, prefix=".")
    try:
        os.fchmod(descriptor, 0o644)
        os.write(descriptor, bytes(directory))
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It appears under its name only now that it is locked.
        os.link(draft, LOCKS / lab)
    except BaseException:
        os.close(descriptor)
        directory.rmdir()
        raise
    finally:
        Path(draft).unlink()
    return descriptor, directory


def stale_labs() -> list[str]:
    """The labs ("NAME-PID") whose process is gone, in order."""
    labs = {found["lab"] for name in netns.names() if (found := NAMESPACE.fullmatch(name))}
    if LOCKS.is_dir():
        labs.update(entry.name for entry in LOCKS.iterdir() if _LAB.fullmatch(entry.name))
    return sorted(lab for lab in labs if not _in_use(lab))


def clean_stale() -> list[str]:
    """Remove what killed labs left behind, processes in their namespaces included; their names.

    Labs in use are left alone. Root is needed.
    """
    labs = stale_labs()
    for lab in labs:
        remove(lab)
    return labs


def remove(lab: str, *, keep_directory: bool = False) -> None:
    """End every process in the namespaces of *lab* and remove all that belongs to it."""
    for name in netns.names():
        found = NAMESPACE.fullmatch(name)
        if found and found["lab"] == lab:
            end_processes(name)
            netns.delete(name)
    try:
        directory = directory_of(lab)
    except LabError:
        return
    if not keep_directory and directory.name.startswith(f"{_DIRECTORY_PREFIX}{lab}-"):
        shutil.rmtree(directory, ignore_errors=True)
    (LOCKS / lab).unlink(missing_ok=True)


def end_processes(namespace: str) -> None:
    """Kill every process in *namespace* and wait, at most two seconds, until none is left."""
    try:
        descriptor = os.open(netns.DIRECTORY / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        limit = time.monotonic() + _PATIENCE_S
        while (found := netns.processes_in(descriptor)) and time.monotonic() < limit:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
    finally:
        os.close(descriptor)


def _in_use(lab: str) -> bool:
    # The lock, and not the process id: that may have been given to another process since.
    try:
        # Reading is enough for a lock, and anybody may ask.
        descriptor = os.open(LOCKS / lab, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
