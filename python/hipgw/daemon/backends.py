"""Chooses who carries the packets, and what can be agreed upon with peers because of it."""

import logging

from hipgw.config.names import EspBackend, EspSuiteName
from hipgw.config.schema import Config
from hipgw.dataplane.backend import DataPlane
from hipgw.dataplane.esp_core import EspCoreDataPlane
from hipgw.dataplane.kernel import KernelDataPlane
from hipgw.dataplane.kernel_suites import kernel_suites
from hipgw.errors import PlatformError

_log = logging.getLogger(__name__)


def make_dataplane(config: Config) -> DataPlane:
    """The data plane of `esp.backend`. Raises PlatformError if this machine lacks it."""
    if config.esp.backend is EspBackend.KERNEL:
        return KernelDataPlane()
    return EspCoreDataPlane()


def usable_suites(config: Config) -> tuple[EspSuiteName, ...]:
    """The ESP suites of the configuration that the data plane has, in the same order.

    Raises PlatformError if there are none.
    """
    wanted = config.hip.esp_suites
    if config.esp.backend is not EspBackend.KERNEL:
        return wanted
    try:
        there = kernel_suites()
    except PlatformError as error:
        # Without the right to make a network namespace nothing can be tried beforehand.
        _log.warning("the kernel's suites are not known: %s", error)
        return wanted
    usable = tuple(name for name in wanted if name.wire_id in there)
    if not usable:
        what = "none of hip.esp_suites" if there else "no ESP in BEET mode"
        raise PlatformError(
            f"This kernel has {what}.",
            hint='`hipgw doctor` shows what it has; `esp.backend = "engine"` needs nothing of it.',
        )
    return usable
