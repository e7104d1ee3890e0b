"""`hipgw run`: runs one daemon until it is told to stop."""

import asyncio
import logging
from pathlib import Path

import uvloop

from hipgw.config.load import load_identities
from hipgw.config.schema import Config
from hipgw.daemon.service import Service
from hipgw.logs import set_up

_log = logging.getLogger(__name__)


def run(config: Config, config_path: Path, *, call: str = "") -> int:
    """Run the daemon; returns the exit status: 0 after a clean stop, 1 if the data plane failed.

    *call* is the name of a peer that is called at once.

    Raises HipgwError when it cannot start.
    """
    set_up(config.daemon.log_format.value, config.daemon.log_level.value)
    identities = load_identities(config, config_path)
    service = Service(config, config_path, identities, call=call)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(service.run())
