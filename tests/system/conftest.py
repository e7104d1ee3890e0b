"""What all system tests share: they need root, and on failure they show what the daemons said."""

import os
from collections.abc import Generator, Iterator

import pytest

from hipgw.lab import Lab, clean_stale
from hipgw.lab.daemon import hip_version, v1_compat

BOTH_VERSIONS = bool(os.environ.get("HIPGW_BOTH_VERSIONS"))
LOG_LINES = 40
"""Of each program, from the end."""


@pytest.fixture(scope="session", autouse=True)
def root_and_a_clean_start() -> None:
    """Say at once what is missing, and remove what a killed run left behind."""
    if os.geteuid():
        pytest.exit("System tests build network namespaces: run them as root.", returncode=2)
    clean_stale()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `both_versions` run in HIPv2 and in HIPv1: it is one machine.

    `both_versions("openhip")`: also with each end taking the other one for OpenHIP. Those with
    `by_request=True` run in HIPv1 only if HIPGW_BOTH_VERSIONS is set, for want of time.
    """
    mark = metafunc.definition.get_closest_marker("both_versions")
    if mark is not None and mark.kwargs.get("by_request") and not BOTH_VERSIONS:
        return
    if mark is not None:
        ways = [(2, "none"), (1, "none"), *((1, profile) for profile in mark.args)]
        ids = ["v2", "v1", *mark.args]
        metafunc.parametrize("of_version", ways, ids=ids, indirect=True)


@pytest.fixture(autouse=True)
def of_version(request: pytest.FixtureRequest) -> Iterator[int]:
    """The version of HIP that the daemons of a test speak."""
    version, profile = getattr(request, "param", (2, "none"))
    tokens = hip_version.set(version), v1_compat.set(profile)
    yield version
    hip_version.reset(tokens[0])
    v1_compat.reset(tokens[1])


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
