"""Rules by the iptables tools, for kernels without nf_tables: a chain of hipgw's own and one jump.

Nothing else in the tables is touched. The tools read a table, change it, and write it back, so
they lock each other out; whoever is not root any more needs the lock that root has opened.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hipgw.errors import PlatformError
from hipgw.platform import privileges

LOCK = Path("/run/xtables.lock")
TABLES = ("raw", "mangle")
"""Where a chain may be, the better one first: before connection tracking, if there is `raw`."""

_TOOLS = {4: ("iptables", "iptables-legacy"), 6: ("ip6tables", "ip6tables-legacy")}
PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"
_WAIT_S = 5
_TIMEOUT_S = 20.0


class _Lock:
    """The lock of the tools, opened while that is allowed and taken for them later."""

    def __init__(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(LOCK, flags, 0o600)
        except OSError:
            self._fd = -1

    @contextlib.contextmanager
    def held(self) -> Iterator[dict[str, str]]:
        """Environment of a tool: as root it takes the lock itself, else this process has it.

        Raises PermissionError if this is not root and has not been.
        """
        if os.geteuid() == 0:
            yield {}
            return
        if self._fd < 0:
            raise PermissionError(f"{LOCK} can be opened by root only")
        self._take()
        try:
            # The tool wants to lock something, too.
            yield {"XTABLES_LOCKFILE": os.devnull}
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _take(self) -> None:
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PlatformError(f"Another program keeps {LOCK} locked.") from None
                time.sleep(0.02)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OwnChain:
    """A chain of one family, to which PREROUTING jumps first."""

    def __init__(self, version: int, chain: str, rules: Sequence[Sequence[str]]) -> None:
        """Make it, in place of one of that name. *rules* are arguments of the tool.

        Raises PlatformError if no tool and no table will have it.
        """
        self._chain = chain
        self._rules = rules
        self._lock = _Lock()
        refusals: list[str] = []
        try:
            for tool in _tools(version):
                for table in TABLES:
                    self._tool, self._table = tool, table
                    self._take_out()
                    if not (refusal := self._make()):
                        return
                    refusals.append(refusal)
                    self._take_out()
        except BaseException:
            self._lock.close()
            raise
        self._lock.close()
        raise _refused(version, refusals)

    @property
    def place(self) -> str:
        """The tool and its table."""
        return f"{Path(self._tool).name} -t {self._table}"

    def whole(self) -> bool:
        """Is it there still, and led to?"""
        jump = ("-C", "PREROUTING", "-j", self._chain)
        if _refusal(self._tool, self._table, *jump, lock=self._lock):
            return False
        listed = _run(self._tool, self._table, "-S", self._chain, lock=self._lock)
        made = [line for line in listed.stdout.splitlines() if line.startswith("-A")]
        return len(made) == len(self._rules)

    def renew(self) -> None:
        """Make it again. Raises PlatformError."""
        self._take_out()
        if refusal := self._make():
            raise PlatformError(f"{self.place}: {refusal}.")

    def close(self) -> None:
        """Remove it; what is gone already is no error. Raises PlatformError."""
        try:
            self._take_out()
            listed = _run(self._tool, self._table, "-S", lock=self._lock)
            if listed.returncode or f"-N {self._chain}" in listed.stdout.splitlines():
                raise PlatformError(f"{self.place}: {self._chain} cannot be removed.")
        finally:
            self._lock.close()

    def _make(self) -> str:
        """Why it cannot be made, or nothing."""
        run = [("-N", self._chain), *(("-A", self._chain, *rule) for rule in self._rules)]
        # The jump comes last: before it, nothing has changed for any packet.
        for arguments in (*run, ("-I", "PREROUTING", "-j", self._chain)):
            if refusal := _refusal(self._tool, self._table, *arguments, lock=self._lock):
                return refusal
        return ""

    def _take_out(self) -> None:
        _take_out(self._tool, self._table, self._chain, self._lock)


def remove(version: int, chain: str) -> None:
    """Remove a chain of that name from every table, and all jumps to it, whoever made them.

    Raises PermissionError without being root, and PlatformError.
    """
    with contextlib.closing(_Lock()) as lock:
        for tool in _tools(version):
            for table in TABLES:
                # Such a tool would make the table by looking there.
                if not tool.endswith("-legacy") or table in _legacy_tables(version):
                    _take_out(tool, table, chain, lock)


def _take_out(tool: str, table: str, chain: str, lock: _Lock) -> None:
    if _refusal(tool, table, "-S", chain, lock=lock):
        return  # there is none
    while not _refusal(tool, table, "-D", "PREROUTING", "-j", chain, lock=lock):
        pass
    for action in ("-F", "-X"):
        _refusal(tool, table, action, chain, lock=lock)


def _tools(version: int) -> list[str]:
    found = (shutil.which(name, path=PATH) for name in _TOOLS[version])
    return [tool for tool in found if tool is not None]


def _legacy_tables(version: int) -> list[str]:
    """The tables of ip_tables or ip6_tables that there are in this network namespace."""
    names = Path("/proc/thread-self/net", "ip_tables_names" if version == 4 else "ip6_tables_names")
    try:
        return names.read_text().split()
    except FileNotFoundError:
        return []  # not in this kernel, or not loaded


def _refused(version: int, refusals: Sequence[str]) -> PlatformError:
    name = _TOOLS[version][0]
    if not refusals:
        return PlatformError(
            f"There is no {name}.",
            hint="On Debian: apt-get install iptables",
        )
    return PlatformError(
        f"{name}: {refusals[0]}.",
        hint="The kernel needs nf_tables or ip_tables, with NFQUEUE"
        " (CONFIG_NFT_QUEUE or CONFIG_NETFILTER_XT_TARGET_NFQUEUE).",
    )


def _refusal(tool: str, table: str, *arguments: str, lock: _Lock) -> str:
    """What the tool says if it does not do it, or nothing."""
    result = _run(tool, table, *arguments, lock=lock)
    if result.returncode == 0:
        return ""
    said = result.stderr.strip().splitlines()
    return said[0].rstrip(".") if said else f"status {result.returncode}"


def _run(tool: str, table: str, *arguments: str, lock: _Lock) -> subprocess.CompletedProcess[str]:
    command = [tool, "-w", str(_WAIT_S), "-t", table, *arguments]
    with lock.held() as environment, privileges.handed_down():
        try:
            return subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                env={"PATH": PATH, "LC_ALL": "C", **environment},
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PlatformError(f"{tool} cannot be run: {error}.") from error
