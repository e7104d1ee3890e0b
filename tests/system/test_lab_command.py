"""`hipgw lab`: finding labs, opening a shell on their hosts, removing what is left behind."""

import json
import subprocess
import sys

import pytest

from hipgw.lab import Lab

pytestmark = [pytest.mark.system, pytest.mark.alone]

HIPGW = [sys.executable, "-m", "hipgw.cli.main"]


def lab(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*HIPGW, "lab", *arguments], capture_output=True, text=True, check=False)


def test_labs_are_listed_entered_and_left_alone_while_in_use() -> None:
    with Lab("listed") as built:
        one, other = built.host("one"), built.host("other")
        built.link(one, "eth0", other, "eth0")
        one.address("eth0", "10.9.9.1/24")
        (entry,) = [
            entry for entry in json.loads(lab("list", "--json").stdout) if "one" in entry["hosts"]
        ]
        assert entry["lab"].startswith("listed-")
        assert entry["hosts"] == ["one", "other"]
        assert entry["stale"] is False
        assert "in use" in lab("list").stdout

        shown = lab("shell", "--lab", entry["lab"], "one", "--", "ip", "-br", "address")
        assert shown.returncode == 0
        assert "10.9.9.1/24" in shown.stdout
        assert lab("shell", "one", "--", "sh", "-c", "exit 7").returncode == 7
        found = lab("shell", "one", "--", "sh", "-c", "hipgw --version")
        assert found.returncode == 0, "it is found without an activated virtual environment"

        lab("clean")
        assert one.run(["ip", "link", "show", "eth0"]).returncode == 0


def test_unknown_host_is_told() -> None:
    result = lab("shell", "nobody-has-this-name")
    assert result.returncode == 1
    assert "no lab has a host" in result.stderr
    assert "hint:" in result.stderr


def test_killed_lab_is_listed_as_left_behind_and_cleaned() -> None:
    code = (
        "import os\nfrom hipgw.lab import Lab\n"
        "with Lab('killed') as lab:\n    lab.host('x')\n    print(os.getpid(), flush=True)\n"
        "    os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    name = f"killed-{result.stdout.strip()}"
    before = {entry["lab"]: entry for entry in json.loads(lab("list", "--json").stdout)}
    assert before[name]["hosts"] == ["x"]
    assert f"removed {name}" in _cleaned(name)
    assert name not in lab("list").stdout


def _cleaned(name: str) -> str:
    """What `clean` wrote, once the lab no longer counts as just being made (ten seconds)."""
    import time

    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        written = lab("clean").stdout
        if name in written:
            return written
        time.sleep(0.5)
    return ""
