"""`hipgw run --rvs`: a rendezvous server out of nothing."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hipgw.cli import rvs
from hipgw.cli.daemon import run
from hipgw.cli.exits import Exit
from hipgw.config.load import load, load_identities
from hipgw.config.names import Accept
from hipgw.errors import ConfigError


def test_what_is_lacking_is_made_once(tmp_path: Path) -> None:
    path = rvs.at_hand(tmp_path / "new" / "hipgw.toml")
    config = load(path)
    assert config.roles == ("rvs",)
    assert config.hip.accept is Accept.ANY
    assert not config.carries_data
    identities = load_identities(config, path)
    assert [identity.version for identity in identities] == [2, 1]
    assert all((path.parent / name).stat().st_mode & 0o777 == 0o600 for name, _ in rvs._KEYS)
    path.unlink()
    # The identity stays, whatever becomes of the configuration.
    assert load_identities(load(rvs.at_hand(path)), path)[0].hit == identities[0].hit


def test_a_configuration_that_is_there_gets_the_role(tmp_path: Path) -> None:
    path = rvs.at_hand(tmp_path / "hipgw.toml")
    path.write_text('[identity]\nkey_file = "host.pem"\n[host]\n')
    assert rvs.at_hand(path) == path
    assert load(path).roles == ("host",)
    assert load(path, add=("rvs",)).roles == ("host", "rvs")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        rvs.at_hand(tmp_path / "file" / "hipgw.toml")


def test_a_configuration_is_needed_for_anything_else() -> None:
    result = CliRunner().invoke(run, [])
    assert result.exit_code == Exit.USAGE
    assert "--config" in result.output
