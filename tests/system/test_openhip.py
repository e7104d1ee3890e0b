"""A machine goes on with OpenHIP's files, flags and commands."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hipgw.control.client import ControlClient
from hipgw.errors import ControlError
from hipgw.lab import Lab, wait_until

pytestmark = pytest.mark.system

VECTORS = Path(__file__).parents[1] / "vectors" / "openhip"
HIT = "2001:10:f684:896d:5ebd:fd0:25ce:2f6e"
LSI = "1.206.47.110"
START_S = 30.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("openhip") as lab:
        yield lab


def test_hip_and_hipstatus(lab: Lab) -> None:
    host = lab.host("a")
    folder, state = host.directory / "hip", host.directory / "state"
    folder.mkdir()
    for kind in ("my", "known"):
        (folder / f"{kind}_host_identities.xml").write_bytes(
            (VECTORS / f"v4-udp.A.{kind}.xml").read_bytes()
        )
    (folder / "hip.conf").write_bytes(
        (Path(__file__).parents[1] / "config" / "openhip" / "hitgen-hip.conf").read_bytes()
    )
    socket = host.directory / "control.sock"
    hipgw = [sys.executable, "-m", "hipgw.cli.main", "openhip"]
    options = ["--sysconfdir", folder, "--state", state, "--socket", socket]
    process = host.popen([*hipgw, "hip", "-v", "-a", *options], name="hip")

    def answers() -> bool:
        assert process.running, process.output
        try:
            with ControlClient(socket) as client:
                return bool(client.request("status", {}))
        except ControlError:
            return False

    wait_until(answers, START_S, what="the daemon")
    status = host.run([*hipgw, "hipstatus", "--socket", socket, "peers", "lsi"])
    assert "B-1024" in status.stdout
    assert "2001:1f:91ca:55ab:3597:3830:f7ee:bf60" in status.stdout
    addresses = host.run(["ip", "addr", "show", "hip0"]).stdout
    assert LSI in addresses
    assert process.stop(10.0) == 0
    # OpenHIP's files are left as they are, so that it could be started again.
    before = (VECTORS / "v4-udp.A.my.xml").read_bytes()
    assert (folder / "my_host_identities.xml").read_bytes() == before


def test_hip_calls_a_known_host_and_keeps_the_sockets_folder(lab: Lab) -> None:
    """By -t, which has to work as the user that the daemon becomes too; with -v, packets show."""
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, "eth0", b, "eth0")
    hipgw = [sys.executable, "-m", "hipgw.cli.main", "openhip"]
    processes = {}
    for host, name, number in ((b, "B", 2), (a, "A", 1)):
        host.address("eth0", f"10.77.0.{number}/24")
        folder = lab.directory / name
        (folder / "run").mkdir(parents=True)
        for kind in ("my", "known"):
            (folder / f"{kind}_host_identities.xml").write_bytes(
                (VECTORS / f"v4-udp.{name}.{kind}.xml").read_bytes()
            )
        socket = folder / "run" / "control.sock"
        options = ["--sysconfdir", folder, "--state", folder / "state", "--socket", socket]
        called = ["-v", "-t", "10.77.0.2"] if name == "A" else []
        owner = (folder / "run").stat().st_uid
        processes[name] = host.popen([*hipgw, "hip", *called, *options], name=f"hip-{name}")

        def answers(socket: Path = socket) -> bool:
            try:
                with ControlClient(socket) as client:
                    return bool(client.request("status", {}))
            except ControlError:
                return False

        wait_until(answers, START_S, what="the daemon")
        assert (folder / "run").stat().st_uid == owner

    def established() -> bool:
        with ControlClient(lab.directory / "A" / "run" / "control.sock") as client:
            entries = client.request("associations", {})
        return [(entry["state"], entry["initiator"]) for entry in entries] == [
            ("ESTABLISHED", True)
        ]

    wait_until(established, START_S, what="the association")
    log = processes["A"].output()
    for packet in ("I1", "R1", "I2", "R2"):
        assert f"packet={packet}" in log
    assert "pyroute2" not in log
    for process in processes.values():
        assert process.stop(10.0) == 0
