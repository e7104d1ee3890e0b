"""What all system tests share: they need root, and on failure they show what the daemons said."""

import os
from collections.abc import Generator, Iterator

import pytest

from hipgw.lab import Lab, clean_stale
from hipgw.lab.daemon import hip_version

LOG_LINES = 40
"""Of each program, from the end."""


@pytest.fixture(scope="session", autouse=True)
def root_and_a_clean_start() -> None:
    """Say at once what is missing, and remove what a killed run left behind."""
    if os.geteuid():
        pytest.exit("System tests build network namespaces: run them as root.", returncode=2)
    clean_stale()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `both_versions` run in HIPv2 and in HIPv1: it is one machine."""
    if metafunc.definition.get_closest_marker("both_versions"):
        metafunc.parametrize("of_version", [2, 1], ids=["v2", "v1"], indirect=True)


@pytest.fixture(autouse=True)
def of_version(request: pytest.FixtureRequest) -> Iterator[int]:
    """The version of HIP that the daemons of a test speak."""
    version = getattr(request, "param", 2)
    token = hip_version.set(version)
    yield version
    hip_version.reset(token)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of the programs in the test's lab to the report of a failure."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and isinstance(lab, Lab) and lab.directory.is_dir():
        for log in sorted(lab.directory.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            if lines:
                report.sections.append((f"Output of {log.stem}", "\n".join(lines[-LOG_LINES:])))
    return report
