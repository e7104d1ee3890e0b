"""Tests marked `both_versions` run in HIPv2 and in HIPv1: it is one machine."""

from collections.abc import Iterator

import pytest

from protocol.network import hip_version


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("both_versions"):
        metafunc.parametrize("of_version", [2, 1], ids=["v2", "v1"], indirect=True)


@pytest.fixture(autouse=True)
def of_version(request: pytest.FixtureRequest) -> Iterator[int]:
    version = getattr(request, "param", 2)
    token = hip_version.set(version)
    yield version
    hip_version.reset(token)
