"""Nothing of a lab stays, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hipgw.errors import LabError
from hipgw.lab import Lab, clean_stale, stale_labs, wait_until
from hipgw.platform import netns

pytestmark = pytest.mark.system

PROGRAM = """
import signal, sys, time
from hipgw.lab import Lab
# Shells have what they start in the background ignore this one, and so all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
with Lab("lifetime") as lab:
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, "eth0", b, "eth0")
    a.popen(["sleep", "1000"])
    # One that hides from its parent, as daemons do.
    a.run(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &"])
    b.popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
    print(" ".join(str(pid) for pid in a.namespace.processes() + b.namespace.processes()))
    print(lab.directory, flush=True)
    time.sleep(1000)
"""


class LabProcess:
    """Another process with a lab."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.children = [int(pid) for pid in self.process.stdout.readline().split()]
        self.directory = Path(self.process.stdout.readline().strip())
        assert len(self.children) >= 3

    @property
    def lab(self) -> str:
        return f"lifetime-{self.process.pid}"

    def namespaces(self) -> list[str]:
        return [name for name in netns.names() if name.startswith(f"hipgw-{self.lab}-")]

    def is_gone(self) -> bool:
        alive = [pid for pid in self.children if is_running(pid)]
        return not alive and not self.namespaces() and not self.directory.exists()


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not just a status that nobody has asked for yet."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def other() -> Iterator[LabProcess]:
    process = LabProcess()
    yield process
    process.process.kill()
    process.process.wait()
    clean_stale()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(other: LabProcess, number: signal.Signals) -> None:
    assert len(other.namespaces()) == 2
    other.process.send_signal(number)
    status = other.process.wait(60)
    assert status == (-number if number is signal.SIGINT else 128 + number)
    assert other.is_gone()


def test_impatience_does_not_break_off_the_cleaning(other: LabProcess) -> None:
    for _ in range(10):
        other.process.send_signal(signal.SIGINT)
        other.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    other.process.wait(60)
    assert other.is_gone()


def test_what_a_killed_one_leaves_is_cleaned(other: LabProcess) -> None:
    assert other.lab not in stale_labs()
    other.process.kill()
    other.process.wait()
    assert len(other.namespaces()) == 2
    assert other.lab in stale_labs()
    assert other.lab in clean_stale()
    wait_until(other.is_gone, 2.0, what="the end of its processes")
    assert other.lab not in clean_stale()


def test_the_next_lab_cleans_too(other: LabProcess) -> None:
    other.process.kill()
    other.process.wait()
    with Lab("next"):
        wait_until(other.is_gone, 2.0, what="the end of its processes")


def test_a_lab_in_use_is_left_alone(other: LabProcess) -> None:
    with Lab("next"):
        assert other.lab not in clean_stale()
    assert other.process.poll() is None
    assert len(other.namespaces()) == 2
    assert all(is_running(pid) for pid in other.children)


def test_a_number_given_to_another_process_does_not_protect() -> None:
    """Process ids are used again; the lock tells whether the lab's own process lives."""
    lab = f"lifetime-{os.getppid()}"
    netns.create(f"hipgw-{lab}-a")
    assert lab in clean_stale()
    assert f"hipgw-{lab}-a" not in netns.names()


def test_where_temporary_files_go_does_not_matter(
    other: LabProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert other.lab not in clean_stale()
    other.process.kill()
    other.process.wait()
    assert other.lab in clean_stale()
    assert not other.directory.exists()


def test_an_error_cleans_up_too() -> None:
    with pytest.raises(ZeroDivisionError), Lab("lifetime") as lab:
        host = lab.host("a")
        process = host.popen(["sleep", "1000"])
        raise ZeroDivisionError
    assert not process.running
    assert not lab.directory.exists()
    assert host.namespace.name not in netns.names()


def test_a_failing_step_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"), Lab("lifetime") as lab:
        a, b = lab.host("a"), lab.host("b")
        process = b.popen(["sleep", "1000"])
        monkeypatch.setattr(a, "close", fail)
    assert not process.running
    assert not lab.directory.exists()
    assert not {a.namespace.name, b.namespace.name} & set(netns.names())


def test_signals_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Lab("lifetime"):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_names_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(LabError, match="a-b"):
        Lab("a-b")
    with Lab("lifetime") as lab:
        with pytest.raises(LabError, match="already"), Lab("lifetime"):
            pass
        with pytest.raises(LabError, match="no name"):
            lab.host("../x")
    with pytest.raises(LabError, match="with"):
        lab.host("late")


def test_logs_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Lab("lifetime", keep=True) as lab:
        lab.host("a").popen(["echo", "hello"]).wait()
    clean_stale()
    assert lab.directory.parent == tmp_path
    assert (lab.directory / "a-echo.log").read_text() == "hello\n"
    assert not [name for name in netns.names() if name.startswith("hipgw-lifetime-")]
