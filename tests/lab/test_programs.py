"""Programs run on a host, and what they say is kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hipgw.errors import LabError
from hipgw.lab import Host, Lab, wait_until
from hipgw.platform import netns

pytestmark = pytest.mark.system


@pytest.fixture
def host() -> Iterator[Host]:
    with Lab("programs") as lab:
        yield lab.host("a")


def test_programs_see_their_host_only(host: Host) -> None:
    assert host.run(["ls", "/sys/class/net"]).stdout.split() == ["lo"]
    assert host.run(["ip", "netns", "identify"]).stdout.strip() == host.namespace.name


def test_run_returns_status_and_output(host: Host) -> None:
    done = host.run(["sh", "-c", "cat; echo oops >&2; exit 3"], text="hello", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "hello", "oops\n")


def test_run_says_what_failed(host: Host) -> None:
    with pytest.raises(LabError, match=r"(?s)a: sh .*status 3.*oops"):
        host.run(["sh", "-c", "echo oops >&2; exit 3"])
    with pytest.raises(LabError, match=r"(?s)longer than 0\.2 s.*so far"):
        host.run(["sh", "-c", "echo so far; exec sleep 100"], timeout_s=0.2)
    with pytest.raises(LabError, match="no-such-program"):
        host.run(["no-such-program"])
    assert host.namespace.processes() == []


def test_popen_keeps_the_output(host: Host) -> None:
    first = host.popen(["sh", "-c", "echo one; echo two >&2"])
    second = host.popen(["sh", "-c", "echo three; exit 7"])
    assert (first.wait(), second.wait()) == (0, 7)
    assert first.output() == "one\ntwo\n"
    assert second.output() == "three\n"
    with pytest.raises(LabError, match=r"(?s)status 7.*three"):
        second.require_running()


def test_programs_end_when_told(host: Host) -> None:
    meek = host.popen(["sleep", "100"])
    stubborn = host.popen(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"])
    wait_until(lambda: "ready" in stubborn.output(), what="the trap")
    assert meek.running
    with pytest.raises(LabError, match="still running"):
        meek.wait(0.05)
    assert meek.stop() == -15
    assert stubborn.stop(0.2) == -9
    stubborn.stop()
    meek.kill()


def test_python_functions_run_on_a_host(host: Host) -> None:
    def where() -> str:
        return str(Path("/proc/thread-self/ns/net").readlink())

    inode = (netns.DIRECTORY / host.namespace.name).stat().st_ino
    assert host.call(where) == f"net:[{inode}]" != where()
    with pytest.raises(FileNotFoundError):
        host.call(Path("/nowhere").read_text)
