"""/etc/resolv.conf: which name servers are asked, and how one more is put in front for a time.

Also a program of its own: `watch` stays root when the daemon does not, keeps the line in the file
while the daemon lives, and takes it out when the daemon ends, however it ends. For that this file
imports nothing but the standard library.
"""

import contextlib
import errno
import os
import select
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

PATH = Path("/etc/resolv.conf")

_MARK = "# hipgw"
_BEGIN, _END = "begin: removed when hipgw ends", "end"
_MADE = "begin: file removed when hipgw ends"
_LOOK_S = 1.0
_SIZE_MAX_OCTETS = 65536


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What is of use in it."""

    servers: tuple[str, ...] = ()
    """Addresses, perhaps with a zone, in order; without those that hipgw has put there."""
    search: tuple[str, ...] = ()
    trust_ad: bool = False
    """Whether its author trusts the servers with the AD bit (resolv.conf(5), since glibc 2.31)."""


def read(path: Path) -> ResolvConf:
    """Read it; nothing is in a file that is not there. Raises OSError for other trouble."""
    return parse(_load(path)[0])


def parse(text: str) -> ResolvConf:
    """Read the text of the file; what is not understood is left out."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    trust_ad = False
    for line in without_server(text).splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search" | "domain", *domains]:
                search = tuple(domain.rstrip(".") for domain in domains if domain.rstrip("."))
            case ["options", *options]:
                trust_ad = trust_ad or "trust-ad" in options
    return ResolvConf(tuple(servers), search, trust_ad)


def with_server(text: str, address: str, tag: str, *, made: bool = False) -> str:
    """The text with a name server in front; *tag* tells whose it is, one word.

    *made*: the file was not there before.
    """
    begin = _MADE if made else _BEGIN
    return f"{_MARK} {tag} {begin}\nnameserver {address}\n{_MARK} {tag} {_END}\n{text}"


def without_server(text: str, tag: str | None = None) -> str:
    """The text as it was, without what `with_server` added for *tag*, or for any."""
    kept = []
    inside: str | None = None
    for line in text.splitlines(keepends=True):
        words = line.rstrip("\n").split(" ", 3)
        whose = words[2] if line.startswith(_MARK + " ") and len(words) == 4 else None
        if inside is not None:
            if whose == inside and words[3] == _END:
                inside = None
        elif whose is not None and words[3] in (_BEGIN, _MADE) and tag in (None, whose):
            inside = whose
        else:
            kept.append(line)
    # A beginning without an end: somebody has edited it, and nothing of theirs is to be lost.
    return "".join(kept) if inside is None else text


def add(path: Path, address: str, tag: str) -> None:
    """Put a name server in front, unless it is there. Raises OSError."""
    text, there = _load(path)
    if text == without_server(text, tag):
        _store(path, with_server(text, address, tag, made=not there))


def remove(path: Path, tag: str | None = None) -> bool:
    """Take out what was added for *tag*, or for any; whether it was there. Raises OSError."""
    text, there = _load(path)
    rest = without_server(text, tag)
    if not there or rest == text:
        return False
    if not rest and _MADE in text:
        path.unlink()
    else:
        _store(path, rest)
    return True


def remove_stale(path: Path, address: str) -> None:
    """Take out what was left behind by those who are no more. Raises OSError.

    That is what has no process any more, and all with *address*, which is the caller's own now: a
    machine that lost its power has the line after it has started, and another one would come in
    front each time. libc's resolver looks at no more than three.
    """
    text, _ = _load(path)
    lines = text.splitlines()
    for n, line in enumerate(lines[:-1]):
        words = line.split(" ", 3)
        if line.startswith(_MARK + " ") and len(words) == 4 and words[3] in (_BEGIN, _MADE):
            tag = words[2]
            if lines[n + 1] == f"nameserver {address}" or not _lives(tag):
                remove(path, tag)


def _lives(tag: str) -> bool:
    try:
        os.kill(int(tag), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def watch(path: Path, address: str) -> None:
    """Keep a name server in the file until the standard input ends; then take it out.

    Who else writes the file meanwhile, such as a DHCP client, may do so: it goes in front again.
    """
    tag = str(os.getpid())
    # The daemon is told to stop, not this program: it ends when the daemon has.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    seen: object = None
    try:
        remove_stale(path, address)
        add(path, address, tag)
        print("ready", flush=True)
        while not select.select([0], [], [], _LOOK_S)[0]:
            with contextlib.suppress(OSError):
                state = path.stat()
                now = (state.st_ino, state.st_mtime_ns, state.st_size)
                if now != seen:
                    add(path, address, tag)
                    seen = now
    except OSError as error:
        print(f"{path}: {error.strerror}", flush=True)
    finally:
        with contextlib.suppress(OSError):
            remove(path, tag)


def _load(path: Path) -> tuple[str, bool]:
    """The text, and whether there is a file."""
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_MAX_OCTETS + 1)
    except FileNotFoundError:
        return "", False
    if len(data) > _SIZE_MAX_OCTETS:
        # It would be written again without its end.
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data.decode("utf-8", "surrogateescape"), True


def _store(path: Path, text: str) -> None:
    # In its place, not by a new file under its name: it may be a link, or a mount point as in
    # containers. One write, and cut off after that, so that no reader finds it empty.
    data = text.encode("utf-8", "surrogateescape")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), sys.argv[2])
