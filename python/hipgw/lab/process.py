"""A program that runs on a host of a lab."""

import contextlib
import subprocess
from pathlib import Path

from hipgw.errors import LabError


class Process:
    """A running program; both of its output streams go to one file, `log`."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.log = log
        """File with what it wrote to its standard output and standard error."""
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal's number, None while it runs."""
        return self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def output(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for its end and return its exit status; LabError if it takes longer."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise LabError(
                f"{self.name} was still running after {timeout_s:g} s.\n{self._tail()}"
            ) from None

    def require_running(self) -> None:
        """Raise LabError with the end of its output if it has ended."""
        if not self.running:
            raise LabError(f"{self.name} ended with status {self.returncode}.\n{self._tail()}")

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once with SIGKILL and wait for that."""
        self._process.kill()
        self._process.wait()

    def stop(self, timeout_s: float = 5.0) -> int:
        """End it with SIGTERM, or SIGKILL if that does not end it in time; its exit status."""
        self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _tail(self, lines: int = 20) -> str:
        return "\n".join(self.output().splitlines()[-lines:])
