"""Daemons as forks of the tests: where a processor is emulated, loading hipgw takes a minute."""

import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import hipgw.daemon.service  # noqa: F401 - loaded once for all of them
from hipgw.cli.main import cli
from hipgw.lab.daemon import HipgwDaemon
from hipgw.lab.process import Process

FORK = bool(os.environ.get("HIPGW_TEST_FORK"))
"""Set by `make test-vm`; elsewhere daemons are started as they are everywhere."""


def start(daemon: HipgwDaemon) -> None:
    """Start a daemon without waiting for it."""
    if not FORK:
        daemon.start(wait=False)
        return
    log = daemon.directory.with_suffix(".log")
    command = ["run", "--config", str(daemon.config_file)]
    forked = daemon.host.call(_Forked, command, log)
    daemon.process = Process(f"{daemon.host.name}-hipgw", forked, log)  # type: ignore[arg-type]
    daemon.host._processes.append(daemon.process)


class _Forked:
    """What `Process` needs of `subprocess.Popen`, for a child in the calling thread's namespace."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _be_a_program(command, log)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        limit = time.monotonic() + (1e9 if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > limit:
                raise subprocess.TimeoutExpired("hipgw", timeout or 0)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _be_a_program(command: list[str], log: Path) -> None:
    """Never returns: the child has nothing of the tests but what they have imported."""
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(number, target)
        os.closerange(3, 4096)
        logging.getLogger().handlers.clear()
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
        cli.main(args=command, prog_name="hipgw")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
