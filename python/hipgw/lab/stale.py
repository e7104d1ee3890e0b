"""Telling labs that are in use from those that a killed process left behind, and removing these.

A lab `NAME` of process `PID` owns the namespaces `hipgw-NAME-PID-HOST` and one directory, with a
lock file in it that the process holds as long as it lives.
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

from hipgw.platform import netns

NAMESPACE = re.compile(r"hipgw-(?P<lab>[a-z][a-z0-9_]*-\d+)-.+")
_DIRECTORY = re.compile(r"hipgw-lab-(?P<lab>[a-z][a-z0-9_]*-\d+)")
_LOCK = "lock"
_BEING_MADE_S = 10.0


def directory_of(lab: str) -> Path:
    """The directory of the lab *lab* ("NAME-PID"): logs, captures, configurations."""
    return Path(tempfile.gettempdir()) / f"hipgw-lab-{lab}"


def claim(lab: str) -> int:
    """Make the directory of *lab* and hold its lock; closing the descriptor gives it up."""
    directory = directory_of(lab)
    directory.mkdir(mode=0o755)
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def stale_labs() -> list[str]:
    """The labs ("NAME-PID") whose process is gone, in order."""
    labs = set()
    for name in netns.names():
        if found := NAMESPACE.fullmatch(name):
            labs.add(found["lab"])
    for entry in Path(tempfile.gettempdir()).iterdir():
        if found := _DIRECTORY.fullmatch(entry.name):
            labs.add(found["lab"])
    return sorted(lab for lab in labs if not _in_use(lab))


def clean_stale() -> list[str]:
    """Remove what killed labs left behind, processes in their namespaces included; their names.

    Labs in use are left alone. Root is needed.
    """
    labs = stale_labs()
    for lab in labs:
        remove(lab)
    return labs


def remove(lab: str) -> None:
    """End every process in the namespaces of *lab* and remove them and its directory."""
    for name in netns.names():
        found = NAMESPACE.fullmatch(name)
        if found and found["lab"] == lab:
            end_processes(name)
            netns.delete(name)
    shutil.rmtree(directory_of(lab), ignore_errors=True)


def end_processes(namespace: str) -> None:
    """Kill every process in *namespace* and wait, at most two seconds, until none is left."""
    try:
        descriptor = os.open(netns.DIRECTORY / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        limit = time.monotonic() + 2.0
        while (found := netns.processes_in(descriptor)) and time.monotonic() < limit:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
    finally:
        os.close(descriptor)


def _in_use(lab: str) -> bool:
    try:
        os.kill(int(lab.rpartition("-")[2]), 0)
    except ProcessLookupError:
        return False
    # The number may have been given to another process since, so the lock decides.
    directory = directory_of(lab)
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return _young(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return _young(directory)


def _young(directory: Path) -> bool:
    """Whether a directory without a held lock may belong to a lab that is just being made."""
    try:
        return time.time() - directory.stat().st_mtime < _BEING_MADE_S
    except FileNotFoundError:
        return False
