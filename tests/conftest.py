"""What holds for all tests."""

import asyncio
import inspect

import pytest
from hypothesis import settings

# How long an example takes is the machine's business, not that of what is tested.
settings.register_profile("hipgw", deadline=None)
settings.load_profile("hipgw")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run tests that are coroutines, each on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
