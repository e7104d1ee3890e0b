"""What `hipgw fleet status` and `hipgw status` are told of the fleet."""

import asyncio
from ipaddress import IPv6Address
from pathlib import Path

from hipgw.daemon.fleet_answers import fleet_answer, fleet_warnings
from hipgw.naming.fleet.book import Book
from hipgw.naming.fleet.directory import Batch, Offered
from hipgw.naming.fleet.keeper import FleetKeeper
from hipgw.naming.fleet.store import Store
from hipgw.naming.fleet.toml_directory import TomlDirectory
from naming.fleet.signing import FLEET, KEYS, signed


def test_what_ails_the_directory_is_told(tmp_path: Path) -> None:
    keeper = FleetKeeper(
        [TomlDirectory(tmp_path / "fleet.toml")],
        Book(FLEET, KEYS),
        Store(tmp_path / "fleet.db"),
        lambda _entries: None,
    )
    (source,) = keeper.followed

    def codes() -> list[str]:
        return [one["code"] for one in fleet_warnings(fleet_answer(FLEET, "plant", keeper))]

    assert codes() == ["fleet_unreachable"]
    source.reached = True
    assert codes() == []
    both = [Offered("entry[0]", signed("a")), Offered("entry[1]", signed("b"))]
    asyncio.run(keeper.take(Batch(both, whole=True), source))
    assert codes() == []
    bad = Offered("entry[0]", {**signed("a"), "port": 7})
    asyncio.run(keeper.take(Batch([bad], whole=True), source))
    assert codes() == ["fleet_refused", "fleet_missing"]
    answer = fleet_answer(FLEET, "plant", keeper)
    assert (answer["entries"], answer["missing"]) == (2, ["b"])
    assert answer["refused"][0]["where"] == "entry[0]"
    source.reached, source.trouble = False, "it burns"
    assert fleet_warnings(fleet_answer(FLEET, None, keeper))[0]["hint"] == "it burns"


def test_an_endbox_that_is_in_no_lan_is_told_what_it_takes(tmp_path: Path) -> None:
    keeper = FleetKeeper([], Book(FLEET, KEYS), Store(tmp_path / "fleet.db"), lambda _: None)
    hit = IPv6Address("2001:22::7")
    (warning,) = fleet_warnings(fleet_answer(FLEET, None, keeper), hit)
    assert (warning["code"], warning["severity"]) == ("fleet_no_lan", "warning")
    assert str(hit) in warning["hint"]
    assert not fleet_warnings(fleet_answer(FLEET, "plant", keeper), hit)
    assert not fleet_warnings(fleet_answer(FLEET, None, keeper))
