"""Thousands of random lives: each ends with both hosts joined by the same keys.

`HIPGW_SCHEDULES=10000 pytest tests/protocol/test_schedules.py` lives as many; the seed of one
that fails is in its name, and what happened in it is printed.
"""

import os

import pytest

from protocol.schedules import Life

COUNT = int(os.environ.get("HIPGW_SCHEDULES", "150"))
FIRST = int(os.environ.get("HIPGW_SCHEDULES_FROM", "0"))
EACH = 50


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, EACH))
def test_every_life_ends_well(first: int) -> None:
    for seed in range(first, min(first + EACH, FIRST + COUNT)):
        life = Life(seed)
        try:
            life.run()
        except AssertionError:
            print(f"seed {seed}:", *life.log, sep="\n  ")
            raise
