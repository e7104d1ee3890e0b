"""What the configuration of an endbox comes to."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from hipgw.config.load import load
from hipgw.config.schema import Config
from hipgw.config.secret_files import load_hex_key
from hipgw.daemon.endbox import allowed_peers, is_static, lan_settings
from hipgw.dataplane.lan import HelloSettings, StaticPeer
from hipgw.errors import ConfigError

OWN = IPv6Address("2001:22::1")
HIT_B = IPv6Address("2001:22::b")
HIT_C = IPv6Address("2001:22::c")
HIT_D1 = IPv6Address("2001:11::d")


@pytest.fixture
def configure(tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "key.pem").write_text("a key")

    def configure(endbox: str, b: str = "", c: str = "", d: str = "") -> Config:
        text = '[identity]\nkey_file = "key.pem"\n[endbox]\n' + endbox
        for name, hit, more in (("b", HIT_B, b), ("c", HIT_C, c), ("d", HIT_D1, d)):
            text += f'\n[[peer]]\nname = "{name}"\nhit = "{hit}"\n{more}'
        file = tmp_path / "hipgw.toml"
        file.write_text(text)
        return load(file)

    return configure


def names(config: Config) -> list[str]:
    return [peer.name for peer in allowed_peers(config, [OWN])]


def test_without_pairs_everybody_is_allowed(configure) -> None:  # type: ignore[no-untyped-def]
    assert names(configure("")) == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("pairs", "allowed"),
    [
        ("[]", []),
        ('[["self", "b"], ["c", "self"]]', ["b", "c"]),
        (f'[["{OWN}", "{HIT_C}"]]', ["c"]),
        (f'[["2001:0022::c", "{OWN}"], ["{HIT_B}", "{HIT_C}"]]', ["c"]),
        # Pairs of others, and this machine with itself, allow nothing.
        (f'[["b", "c"], ["self", "{OWN}"]]', []),
        (f'[["self", "{HIT_D1}"]]', ["d"]),
    ],
)
def test_pairs(configure, pairs: str, allowed: list[str]) -> None:  # type: ignore[no-untyped-def]
    assert names(configure(f"allowed_pairs = {pairs}")) == allowed


def test_static_is_a_property_of_a_peer(configure) -> None:  # type: ignore[no-untyped-def]
    config = configure('legacy_nodes = ["10.0.0.1"]', b='legacy_nodes = ["10.0.0.2", "10.0.0.3"]')
    assert config.endbox is not None
    static = {peer.name for peer in config.peers if is_static(config, peer)}
    # d speaks version 1, so it is taken for an OpenHIP, whose frames are bare.
    assert static == {"b", "d"}
    settings = lan_settings(config, config.endbox, OWN)
    addresses = (IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3"))
    assert settings.peers == (StaticPeer((HIT_B,), addresses), StaticPeer((HIT_D1,)))
    assert settings.local == (IPv4Address("10.0.0.1"),)
    assert not settings.all_static
    assert settings.hello is None


def test_all_are_static_in_static_mode(configure) -> None:  # type: ignore[no-untyped-def]
    config = configure('mode = "static"\ndefault_endbox = true\nhello_s = 5')
    assert config.endbox is not None
    settings = lan_settings(config, config.endbox, OWN)
    assert settings.all_static
    assert settings.local_default
    assert [peer.hits for peer in settings.peers] == [(HIT_B,), (HIT_C,), (HIT_D1,)]
    assert settings.hello == HelloSettings(OWN, 5, standby=False)


def test_one_endbox_bridges_a_learning_lan(configure) -> None:  # type: ignore[no-untyped-def]
    config = configure("hello_s = 5")
    assert config.endbox is not None
    assert lan_settings(config, config.endbox, OWN).hello == HelloSettings(OWN, 5, standby=True)


def test_a_key_file(tmp_path: Path) -> None:
    file = tmp_path / "group.key"
    file.write_text("0x000102030405\n06070809 0a0b\n")
    file.chmod(0o600)
    assert load_hex_key(file, 12) == bytes(range(12))
    with pytest.raises(ConfigError, match="12 octets, and 24 are needed"):
        load_hex_key(file, 24)
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        load_hex_key(file, 12)
    file.chmod(0o600)
    file.write_text("secret")
    with pytest.raises(ConfigError, match="not written in hexadecimal") as caught:
        load_hex_key(file, 3)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_hex_key(tmp_path / "none", 3)
