from collections.abc import Iterator
from pathlib import Path

import pytest

from small_daemon import ServedDaemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ServedDaemon]:
    """A daemon behind a control socket, with one peer, `plant-b`."""
    served = ServedDaemon(tmp_path / "control.sock")
    yield served
    served.end()
