"""`hipgw fleet`: the operator's commands, against a file."""

import json
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from click.testing import Result

from hipgw.identity.operator_key import OperatorKey, OperatorPublicKey
from hipgw.naming.fleet.entry import verify
from small_daemon import ServedDaemon

Run = Callable[..., Result]
HIT, OTHER = "2001:21:bbbb::2", "2001:21:bbbb::3"


@pytest.fixture
def key(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OperatorPublicKey:
    """The operator's key, which commands find by the environment."""
    file = tmp_path / "operator.pem"
    shown = run("fleet", "keygen", file).stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setenv("HIPGW_FLEET_KEY", str(file))
    public = OperatorKey.from_pem(file.read_bytes()).public
    assert f'operator_keys = ["{public}"]' in shown
    return public


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "fleet.toml"


def entries(place: Path, key: OperatorPublicKey) -> dict[str, Any]:
    tables = tomllib.loads(place.read_text())["entry"]
    return {table["name"]: verify(table, [key], "fleet") for table in tables}


def test_a_machine_comes_changes_and_goes(run: Run, key: OperatorPublicKey, place: Path) -> None:
    options = ("--hit", HIT, "--address", "192.0.2.2", "--lan", "plant")
    assert run("fleet", "add", "b", "-d", place, *options, "--expires", "30d").exit_code == 0
    first = entries(place, key)["b"]
    assert first.lans == ("plant",)
    assert first.expires is not None
    again = run("fleet", "add", "b", "-d", place, *options)
    assert again.exit_code == 1
    assert "--change" in again.stderr
    assert run("fleet", "add", "b", "-d", place, "--change", "--refused").exit_code == 0
    second = entries(place, key)["b"]
    assert not second.accept
    assert second.lans == ("plant",)
    assert second.revision > first.revision
    listed = run("fleet", "list", "-d", place, "--operator-key", key).stdout
    assert "kept out" in listed
    assert run("fleet", "remove", "b", "-d", place).exit_code == 0
    third = entries(place, key)["b"]
    assert third.removed
    assert third.revision > second.revision
    assert HIT not in run("fleet", "list", "-d", place, "--operator-key", key).stdout
    assert run("fleet", "remove", "b", "-d", place).exit_code == 1
    assert run("fleet", "add", "b", "-d", place, *options).exit_code == 0
    assert entries(place, key)["b"].revision > third.revision


def test_what_machines_could_not_use_is_not_signed(
    run: Run, key: OperatorPublicKey, place: Path
) -> None:
    for options, text in (
        (("--hit", "2001:db8::1"), "hit is not a HIT"),
        (("--hit", HIT, "--address", "2001:21::1"), "addresses"),
        (("--hit", HIT, "--transport", "raw", "--port", "4500"), "port"),
        (("--address", "192.0.2.2"), "hit is missing"),
        (("--hit", HIT, "--lan", "a b"), "lans"),
    ):
        result = run("fleet", "add", "b", "-d", place, *options)
        assert result.exit_code == 1, options
        assert text in result.stderr
    assert run("fleet", "add", "b", "-d", place, "--hit", HIT, "--expires", "soon").exit_code == 2
    assert not place.exists()


def test_a_changed_entry_is_found_and_signed_anew(
    run: Run, key: OperatorPublicKey, place: Path
) -> None:
    for name, hit in (("b", HIT), ("c", OTHER)):
        run("fleet", "add", name, "-d", place, "--hit", hit)
    verified = ("fleet", "verify", "-d", place, "--operator-key", key)
    assert run(*verified).exit_code == 0
    tables = tomllib.loads(place.read_text())
    tables["entry"][0]["addresses"] = ["192.0.2.66"]
    place.write_text(tomli_w.dumps(tables))
    bad = run(*verified)
    assert bad.exit_code == 1
    assert "entry[0] (b): its signature is wrong" in bad.stderr
    assert "1 of 2" in bad.stdout
    rows = json.loads(run("fleet", "list", "-d", place, "--operator-key", key, "--json").stdout)
    assert [row["state"] for row in rows] == ["refused", "in force"]
    # The operator says that this is how it is meant.
    dry = run("fleet", "sign", place, "-d", place, "--dry-run").stdout
    assert "would sign b: addresses=['192.0.2.66']" in dry
    assert "sign c" not in dry
    assert run(*verified).exit_code == 1
    assert "b: revision" in run("fleet", "sign", place, "-d", place).stdout
    assert run(*verified).exit_code == 0
    assert run("fleet", "sign", place, "-d", place).stdout == "nothing to be signed\n"


def test_stanzas_of_machines_are_signed_as_they_are(
    run: Run, key: OperatorPublicKey, place: Path, tmp_path: Path
) -> None:
    draft = tmp_path / "new.toml"
    draft.write_text(
        f'[[peer]]\nname = "b"\nhit = "{HIT}"\naddresses = ["192.0.2.2"]\n'
        f'[[entry]]\nname = "c"\nhit = "{OTHER}"\nlans = ["plant"]\n'
    )
    result = run("fleet", "sign", draft, "-d", place)
    assert result.exit_code == 0, result.stderr
    assert set(entries(place, key)) == {"b", "c"}
    draft.write_text("[endbox]\n")
    assert run("fleet", "sign", draft, "-d", place).exit_code == 1


def test_what_hipgw_id_shows_is_signed(
    run: Run, key: OperatorPublicKey, place: Path, tmp_path: Path
) -> None:
    run("keygen", tmp_path / "host.pem")
    shown = tmp_path / "shown"
    shown.write_text(run("id", tmp_path / "host.pem", "--name", "b").stdout)
    result = run("fleet", "sign", shown, "-d", place)
    assert result.exit_code == 0, result.stderr
    assert set(entries(place, key)) == {"b"}


def test_two_names_with_one_hit(run: Run, key: OperatorPublicKey, place: Path) -> None:
    assert run("fleet", "add", "b", "-d", place, "--hit", HIT).stderr == ""
    assert "has the HIT of b" in run("fleet", "add", "c", "-d", place, "--hit", HIT).stderr
    run("fleet", "remove", "b", "-d", place)
    assert run("fleet", "add", "c", "-d", place, "--hit", HIT, "--change").stderr == ""


def test_another_operator_s_entries_are_no_base(
    run: Run, key: OperatorPublicKey, place: Path, tmp_path: Path
) -> None:
    """What a thief has written is neither taken over nor does its revision count."""
    other = tmp_path / "other.pem"
    run("fleet", "keygen", other)
    options = ("--hit", HIT, "--address", "192.0.2.66", "--key", other)
    assert run("fleet", "add", "b", "-d", place, *options).exit_code == 0
    assert run("fleet", "add", "b", "-d", place, "--change").exit_code == 1
    assert run("fleet", "add", "b", "-d", place, "--hit", HIT).exit_code == 0
    assert entries(place, key)["b"].addresses == ()


def test_the_configuration_says_where(
    run: Run, key: OperatorPublicKey, place: Path, config_file: Path
) -> None:
    text = config_file.read_text()
    config_file.write_text(
        f'{text}[fleet]\nname = "plants"\nfile = "fleet.toml"\noperator_keys = ["{key}"]\n'
    )
    assert run("fleet", "add", "b", "--config", config_file, "--hit", HIT).exit_code == 0
    assert "in force" in run("fleet", "list", "--config", config_file).stdout
    assert run("fleet", "list", "-d", place, "--operator-key", key).stdout.count("refused") == 1
    assert "another fleet" in run("fleet", "verify", "-d", place, "--operator-key", key).stderr


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("list",), 2, "--config FILE, or --directory PLACE"),
        (("list", "-d", "none.toml"), 2, "--operator-key"),
        (("list", "-d", "none.toml", "--operator-key", "x"), 2, "begins with"),
        (("add", "b", "-d", "none.toml", "--key", "none.pem"), 1, "hipgw fleet keygen"),
        (("add", "b", "-d", "http://127.0.0.1:x/"), 2, "--directory"),
        (("add", "b", "-d", "http://127.0.0.1:1/p/"), 1, "127.0.0.1:1"),
        (("add", "b", "-d", "f.toml", "--fleet", "a b"), 2, "--fleet"),
        (("add", "b", "-d", "f.toml", "--expires", "2020-01-31T12:00:00Z"), 2, "over already"),
        (("add", "b", "-d", "f.toml", "--expires", "0001-01-01T00:00:00+05:00"), 2, "--expires"),
    ],
)
def test_mistakes(
    run: Run, key: OperatorPublicKey, arguments: tuple[str, ...], status: int, text: str
) -> None:
    result = run("fleet", *arguments)
    assert result.exit_code == status, result.stderr
    assert text in result.stderr


def test_status(ask: Run, ask_json: Callable[..., Any], daemon: ServedDaemon) -> None:
    text = ask("fleet", "status").stdout
    assert "cannot be used: no answer in time" in text
    assert "followed, told something 5.0s ago" in text
    assert "it is not signed" in text
    assert ask_json("fleet", "status")["lan"] == "plant"
    daemon.api.established = False
    assert "no [fleet]" in ask("fleet", "status").stdout
