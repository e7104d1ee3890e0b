"""A directory in a file, whatever is done to the file."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from hipgw.errors import NamingError
from hipgw.naming.fleet.directory import Batch
from hipgw.naming.fleet.toml_directory import TomlDirectory, read_file
from naming.fleet.signing import signed


def write(file: Path, *names: str) -> None:
    file.write_text(tomli_w.dumps({"entry": [signed(name) for name in names]}))


async def names_of(batches: AsyncGenerator[Batch, None]) -> set[str]:
    async with asyncio.timeout(20):
        batch = await anext(batches)
    assert batch.whole
    return {str(one.table["name"]) for one in batch.entries if one.table is not None}


def test_every_way_to_change_a_file_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    write(file, "a")

    async def run() -> None:
        async with aclosing(TomlDirectory(file).batches()) as batches:
            assert await names_of(batches) == {"a"}
            write(file, "a", "b")
            while await names_of(batches) != {"a", "b"}:
                pass  # it was read while it was half written
            other = tmp_path / "other.toml"
            write(other, "c")
            other.replace(file)
            assert await names_of(batches) == {"c"}

    asyncio.run(run())


def test_a_link_that_is_turned_is_seen_without_any_notice(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    write(real / "1.toml", "a")
    file = tmp_path / "fleet.toml"
    file.symlink_to(real / "1.toml")

    async def run() -> None:
        async with aclosing(TomlDirectory(file, look_s=0.1).batches()) as batches:
            assert await names_of(batches) == {"a"}
            # The folder that is watched has nothing to do with this.
            write(real / "2.toml", "b")
            (real / "2.toml").replace(real / "1.toml")
            assert await names_of(batches) == {"b"}

    asyncio.run(run())


def test_a_file_that_is_broken_or_gone(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"

    async def first() -> None:
        async with aclosing(TomlDirectory(file).batches()) as batches:
            await names_of(batches)

    with pytest.raises(NamingError, match="No such file"):
        asyncio.run(first())
    for text in ("[[entry", "x = 1\n", "entry = 1\n", "[[entry]]\n[other]\n", "\x00"):
        file.write_text(text)
        with pytest.raises(NamingError, match=r"fleet\.toml"):
            asyncio.run(first())
    file.write_bytes(b"\xff")
    with pytest.raises(NamingError, match=r"fleet\.toml"):
        asyncio.run(first())


def test_writing_keeps_the_others_and_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    directory = TomlDirectory(file)

    def put(table: dict[str, Any]) -> None:
        asyncio.run(directory.write(table, ()))

    put(signed("b"))
    file.chmod(0o640)
    put(signed("a"))
    put(signed("b", 2))
    tables = [one.table for one in read_file(file)]
    assert tables == [signed("a"), signed("b", 2)]
    assert file.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["fleet.toml"]
    with pytest.raises(NamingError, match="needs a name"):
        put({"name": "../x"})
    with pytest.raises(NamingError, match="cannot be written"):
        asyncio.run(TomlDirectory(tmp_path / "none" / "f").write(signed("a"), ()))
