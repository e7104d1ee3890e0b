"""Errors of the network, as people read them."""

import asyncio
import ssl

import aiohttp
import pytest

from hipgw.naming.trouble import reason_of


def test_the_system_s_words_without_what_is_around_them() -> None:
    assert reason_of(OSError(113, "No route to host")) == "No route to host"
    assert reason_of(TimeoutError()) == "no answer in time"
    assert reason_of(ValueError("odd")) == "odd"
    assert reason_of(EOFError()) == "EOFError"
    assert "WRONG_VERSION" in reason_of(ssl.SSLError(1, "WRONG_VERSION_NUMBER"))


async def _call() -> None:
    async with aiohttp.ClientSession() as session:
        await session.get("http://127.0.0.1:1/")


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(aiohttp.ClientError) as caught:
        asyncio.run(_call())
    assert reason_of(caught.value) == "Connection refused"
