"""`hipgw run --rvs` and `--mr`: a rendezvous server or a mobile router out of nothing."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hipgw.cli import at_hand
from hipgw.cli.daemon import run
from hipgw.cli.exits import Exit
from hipgw.config.load import load, load_identities
from hipgw.config.names import Accept
from hipgw.errors import ConfigError


@pytest.mark.parametrize("roles", [("rvs",), ("mobile_router",), ("rvs", "mobile_router")])
def test_what_is_lacking_is_made_once(tmp_path: Path, roles: tuple[str, ...]) -> None:
    path = at_hand.at_hand(tmp_path / "new" / "hipgw.toml", roles)
    config = load(path)
    assert config.roles == roles
    assert config.hip.accept is Accept.ANY
    assert not config.carries_data
    identities = load_identities(config, path)
    assert [identity.version for identity in identities] == [2, 1]
    assert all((path.parent / name).stat().st_mode & 0o777 == 0o600 for name, _ in at_hand.KEYS)
    path.unlink()
    # The identity stays, whatever becomes of the configuration.
    again = at_hand.at_hand(path, roles)
    assert load_identities(load(again), path)[0].hit == identities[0].hit


@pytest.mark.parametrize("role", at_hand.WHAT)
def test_a_configuration_that_is_there_gets_the_role(tmp_path: Path, role: str) -> None:
    path = at_hand.at_hand(tmp_path / "hipgw.toml", [role])
    path.write_text('[identity]\nkey_file = "host.pem"\n[host]\n')
    assert at_hand.at_hand(path, [role]) == path
    assert load(path).roles == ("host",)
    assert load(path, add=(role,)).roles == ("host", role)


def test_whoever_gets_another_role_keeps_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(at_hand, "FOLDER", tmp_path)

    def hits(*roles: str) -> list[str]:
        path = at_hand.at_hand(None, roles)
        assert load(path).roles == roles
        return [str(one.hit) for one in load_identities(load(path), path)]

    before = hits("mobile_router")
    assert hits("rvs", "mobile_router") == before
    assert f"with the keys of {tmp_path / 'mobile-router'}" in capsys.readouterr().err
    assert hits("mobile_router") == before
    # Also the other way round.
    monkeypatch.setattr(at_hand, "FOLDER", tmp_path / "new")
    first = hits("rvs", "mobile_router")
    assert first != before
    assert hits("mobile_router") == first


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        at_hand.at_hand(tmp_path / "file" / "hipgw.toml", ["rvs"])


def test_a_configuration_is_needed_for_anything_else() -> None:
    result = CliRunner().invoke(run, [])
    assert result.exit_code == Exit.USAGE
    assert "--config" in result.output
