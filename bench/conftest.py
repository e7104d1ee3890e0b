"""Lets `pytest bench --benchmark-only` work, although the project switches benches off."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Take `--benchmark-only` as the wish to have benches run."""
    if config.getoption("benchmark_only", default=False):
        config.option.benchmark_disable = False
