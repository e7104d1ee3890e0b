"""Getting the programs of this machine to ask a name server of ours, and not to any more."""

import logging
import subprocess
import sys
from pathlib import Path

from hipgw.errors import PlatformError
from hipgw.platform import resolv_conf
from hipgw.platform.journal import Journal

_RESOLVED_FILES = Path("/run/systemd/resolve")
_RESOLVED_STUB = "127.0.0.53"
_PATIENCE_S = 3.0

_log = logging.getLogger(__name__)


def resolved_is_asked() -> bool:
    """Whether systemd-resolved runs, and /etc/resolv.conf leads to it."""
    if not _RESOLVED_FILES.is_dir():
        return False
    try:
        real = resolv_conf.PATH.resolve()
        return (
            _RESOLVED_FILES in real.parents
            or _RESOLVED_STUB in resolv_conf.read(resolv_conf.PATH).servers
        )
    except OSError:
        return False


class ResolvedLink:
    """systemd-resolved sends the names of a domain to our server, by the host role's interface.

    All it knows goes with the interface, so nothing is left behind when the daemon is killed.
    """

    def __init__(self, interface: str, address: str, domain: str) -> None:
        """As root. Raises PlatformError."""
        for arguments in (
            ["dns", interface, address],
            ["domain", interface, f"~{domain}"],
            ["default-route", interface, "no"],
            # These names have no signatures, and the root zone swears that there is no such domain.
            ["dnssec", interface, "no"],
        ):
            self._tell(arguments)
        _log.info("systemd-resolved asks hipgw", extra={"domain": domain, "interface": interface})

    @staticmethod
    def _tell(arguments: list[str]) -> None:
        try:
            subprocess.run(
                ["resolvectl", *arguments],
                check=True,
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise PlatformError(
                f"systemd-resolved cannot be told about names: resolvectl {' '.join(arguments)}:"
                f" {said.strip()}",
                hint='`dns.resolver` may be "resolv.conf", or "off".',
            ) from None

    def close(self) -> None:
        """Nothing to do: the interface goes."""


class ResolvConfLine:
    """Our server in front of those in /etc/resolv.conf.

    A small process keeps it there with the rights that the daemon gives up, and takes it out when
    the daemon ends: by `close`, or by a crash. Should that be killed as well, the next start does.
    """

    def __init__(self, address: str, journal: Journal) -> None:
        """As root. Raises PlatformError."""
        journal.record_resolv_conf()
        self._process = subprocess.Popen(
            # Isolated: it runs as root, and imports nothing but the standard library.
            [sys.executable, "-I", "-S", resolv_conf.__file__, str(resolv_conf.PATH), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the daemon.
            start_new_session=True,
            cwd="/",
            env={},
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline().decode(errors="replace").strip()
        if said != "ready":
            self.close()
            raise PlatformError(
                f"The name server cannot be put into {said or resolv_conf.PATH}.",
                hint='`dns.resolver = "off"` leaves the file alone.',
            )

    def close(self) -> None:
        """Take it out again, and wait for that."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            _log.warning("the keeper of %s does not end", resolv_conf.PATH)
