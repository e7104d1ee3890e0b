"""What finds peers runs as long as the daemon does, whatever goes wrong with one part of it."""

import asyncio
import logging
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path as FilePath
from typing import Any, cast

import pytest

from hipgw.config.load import load
from hipgw.daemon import naming
from hipgw.daemon.driver import HipDriver
from hipgw.daemon.membership import Membership
from hipgw.daemon.naming import NamingPart, NamingServices, Surroundings
from hipgw.identity.lsi import LsiTable
from hipgw.naming.peers import PeerDirectory
from hipgw.platform.journal import Journal
from hipgw.protocol.effects import Effect, Established, PathChanged
from hipgw.protocol.path import Path, Transport
from naming_sources import HIT, OTHER, configured

OWN = IPv6Address("2001:21::99")


class Part(NamingPart):
    """Writes down what it is told; fails, or never ends, where it is to."""

    def __init__(self, name: str, *, fails: bool = False, hangs: bool = False) -> None:
        self.name = name
        self.fails = fails
        self.hangs = hangs
        self.told: list[str] = []

    async def prepare(self) -> None:
        self.told.append("prepare")

    async def start(self) -> None:
        await self._do("start")

    async def stop(self) -> None:
        await self._do("stop")

    def addresses_changed(self, addresses: Sequence[Any]) -> None:
        self.told.append("addresses")
        if self.fails:
            raise ZeroDivisionError

    def handle_event(self, event: Effect) -> None:
        self.told.append("event")
        if self.fails:
            raise ZeroDivisionError

    async def _do(self, what: str) -> None:
        self.told.append(what)
        if self.hangs:
            await asyncio.sleep(100)
        if self.fails:
            raise ZeroDivisionError


class Driver:
    """Has no associations."""

    @property
    def machine(self) -> "Driver":
        return self

    def associations(self, hit: IPv6Address) -> list[Any]:
        return []


def services(folder: FilePath, toml: str = "") -> NamingServices:
    (folder / "key.pem").write_text("a key")
    file = folder / "hipgw.toml"
    file.write_text(
        f'[identity]\nkey_file = "key.pem"\n[host]\n{toml}\n[daemon]\nstate_dir = "{folder}"\n'
    )
    config = load(file)
    lsis = LsiTable()
    peer = configured(HIT, "plant-b", "192.0.2.1")
    lsis.assign(HIT, peer.lsi)
    return NamingServices(
        Surroundings(
            config=config,
            config_file=file,
            identities=(),
            directory=PeerDirectory([peer], lsis),
            own_lsi=IPv4Address("1.0.0.1"),
            journal=Journal(folder),
            roles=(),
            membership=Membership(config, [OWN]),
            addresses=lambda: (),
        )
    )


async def run(made: NamingServices, *parts: Part) -> None:
    for part in parts:
        made.add(part)
    await made.prepare()
    await made.start(cast(HipDriver, Driver()))


async def test_parts_live_as_long_as_the_daemon(tmp_path: FilePath) -> None:
    made, part = services(tmp_path), Part("part")
    made.add(part)
    made.addresses_changed(())
    assert not part.told, "it has not begun yet"
    await made.prepare()
    await made.start(cast(HipDriver, Driver()))
    made.addresses_changed((ip_address("192.0.2.9"),))
    made.handle_event(Established(OWN, HIT, Path(None, ip_address("192.0.2.1")), True, 0.01))
    await made.stop()
    assert part.told == ["prepare", "start", "addresses", "event", "stop"]


async def test_one_that_fails_or_hangs_does_not_keep_the_others_from_their_work(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(naming, "STOP_PATIENCE_S", 0.05)
    made = services(tmp_path)
    parts = Part("bad", fails=True), Part("slow", hangs=True), Part("good")
    with caplog.at_level(logging.ERROR):
        await run(made, *parts)
        made.addresses_changed(())
        made.handle_event(Established(OWN, HIT, Path(None, ip_address("192.0.2.1")), True, 0.01))
        await made.stop()
    for part in parts:
        assert part.told == ["prepare", "start", "addresses", "event", "stop"], part.name
    assert "bad does not start" in caplog.text
    assert "slow does not stop" in caplog.text


async def test_where_peers_are_is_kept_unless_it_is_lent(tmp_path: FilePath) -> None:
    made = services(tmp_path)
    await run(made)
    relay = (ip_address("192.0.2.66"), 30000)
    places = (
        Path(None, ip_address("192.0.2.7")),
        Path(None, ip_address("192.0.2.2"), remote_port=4711),
        Path(None, ip_address("192.0.2.3"), relay_to=relay),
        Path(None, ip_address("192.0.2.4"), Transport.RAW, remote_port=0),
    )
    for place in places:
        made.handle_event(PathChanged(OWN, HIT, places[0], place, "it moved"))
    made.handle_event(Established(OWN, OTHER, places[0], True, 0.01))
    await made.stop()
    again = services(tmp_path)
    answers = {one.source: one.found for one in (await again.resolver.ask_all(HIT)).answers}
    (found,) = answers["last-known"]
    assert list(map(str, found.addresses)) == ["192.0.2.4", "192.0.2.7"]
    answers = {one.source: one.found for one in (await again.resolver.ask_all(OTHER)).answers}
    assert answers["last-known"] == (), "strangers are nobody's question"


async def test_what_the_configuration_says_is_not_kept(tmp_path: FilePath) -> None:
    made = services(tmp_path)
    await run(made)
    here, there = (Path(None, ip_address(f"192.0.2.{number}")) for number in (1, 7))
    before = sorted(tmp_path.iterdir())
    made.handle_event(Established(OWN, HIT, here, True, 0.01))
    await made.stop()
    assert sorted(tmp_path.iterdir()) == before
    made.handle_event(PathChanged(OWN, HIT, here, there, "it moved"))
    made.handle_event(PathChanged(OWN, HIT, there, here, "it came back"))
    await made.stop()
    again = services(tmp_path)
    answers = {one.source: one.found for one in (await again.resolver.ask_all(HIT)).answers}
    assert answers["last-known"] == ()


async def test_only_the_sources_of_the_order_are_there(tmp_path: FilePath) -> None:
    made = services(tmp_path, '[naming]\norder = ["configured"]')
    assert made.resolver.sources == ("configured",)


async def test_people_name_peers_with_the_suffix_or_without(tmp_path: FilePath) -> None:
    made = services(tmp_path, '[naming]\norder = ["configured"]')
    for text in ("plant-b", "plant-b.hip", "PLANT-B.HIP.", str(HIT)):
        peer = await made.look_up(text)
        assert peer is not None, text
        assert peer.hit == HIT
    assert await made.look_up("plant-c.hip") is None
