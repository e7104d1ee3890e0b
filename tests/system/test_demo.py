"""`make demo`, as a person runs it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.system


def test_the_demo_joins_two_lans_and_measures() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "hipgw.cli.main", "lab", "demo"],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    for told in ("the two LANs are one", "TCP through the tunnel", "plain path"):
        assert told in demo.stdout
