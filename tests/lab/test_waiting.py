"""Waiting has a limit and says what for."""

import time

import pytest

from hipgw.errors import LabError
from hipgw.lab import wait_until


def test_returns_what_the_condition_returned() -> None:
    answers = iter([0, None, "ready"])
    assert wait_until(lambda: next(answers), interval_s=0.001) == "ready"


def test_gives_up_and_names_what_it_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(LabError, match="the moon"):
        wait_until(lambda: False, 0.05, what="the moon", interval_s=0.01)
    assert time.monotonic() - began < 1


def test_looks_at_least_once() -> None:
    assert wait_until(lambda: True, 0.0)


def test_an_error_of_the_condition_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0)
