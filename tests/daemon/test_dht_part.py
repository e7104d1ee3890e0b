"""The DHT's gateway begins when it can."""

import asyncio
import socket
from pathlib import Path

import pytest

from daemon.made_services import made_services
from hipgw.daemon import dht_parts
from hipgw.naming.dht.client import DhtClient, Server
from hipgw.naming.dht.limits import ADDRESS_APPLICATION
from hipgw.naming.dht.source import DhtSource


async def test_a_port_that_is_taken_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dht_parts, "RETRY_S", 0.05)
    other = socket.create_server(("127.0.0.1", 0))
    port = other.getsockname()[1]
    services = made_services(tmp_path, f'[dht]\ngateway = ["127.0.0.1:{port}"]\npublish = false')
    dht = services.around.config.dht
    assert dht is not None
    here = Server(dht.asked[0].address, port)
    client = DhtClient([here])
    part = dht_parts.DhtPart(services, dht, client, DhtSource(client))
    await part.start()
    try:
        assert "there is no DHT gateway" in caplog.text
        await asyncio.sleep(0.2)
        other.close()
        async with asyncio.timeout(10):
            while "is there now" not in caplog.text:
                caplog.set_level("INFO")
                await asyncio.sleep(0.02)
        assert await client.get(here, bytes(20), ADDRESS_APPLICATION) == []
    finally:
        other.close()
        await part.stop()
    assert caplog.text.count("there is no DHT gateway") == 1
