"""`hipgw dns-record`: what it writes, and what it refuses; servers are asked in system tests."""

import json
from pathlib import Path

import dns.rdata
import pytest
from dns.rdtypes.ANY.HIP import HIP

from hipgw.errors import NamingError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keyfile import save_key_file
from hipgw.naming.dns.hip_rr import read_rdata
from hipgw.naming.dns.tsig import parse_key

from .conftest import Run

SECRET = "c2VjcmV0IG9mIHRoZSBzZXJ2ZXIsIDMyIG9jdGV0cyE="
KEY = f"""
// made by tsig-keygen
key "lab" {{
    algorithm hmac-sha256; # comment
    secret "{SECRET}";
}};
"""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    save_key_file(tmp_path / "host.pem", LocalIdentity.generate("rsa2048"))
    return tmp_path / "host.pem"


def hit_of(text: str) -> str:
    rdata = dns.rdata.from_text("IN", "HIP", text)
    assert isinstance(rdata, HIP)
    return str(read_rdata(rdata).hit)


def test_both_forms_of_the_record(run: Run, key: Path) -> None:
    lines = run("dns-record", "b.example.com", "--key", key, "--rvs", "rvs.example.com").stdout
    first, _, _, _, generic = lines.splitlines()
    name, ttl, *_ = first.split()
    assert (name, ttl) == ("b.example.com.", "3600")
    assert first.endswith(" rvs.example.com. )")
    assert generic.startswith("b.example.com. 3600 IN TYPE55 \\# ")
    plain = hit_of(first.partition("(")[2].rstrip(") "))
    rdata = dns.rdata.from_text("IN", "HIP", generic.partition("TYPE55")[2])
    assert isinstance(rdata, HIP)
    assert str(read_rdata(rdata).hit) == plain


def test_a_configuration_says_whose_it_is(run: Run, key: Path, tmp_path: Path) -> None:
    (tmp_path / "hipgw.toml").write_text('[identity]\nkey_file = "host.pem"\n[host]\n')
    arguments = ("dns-record", "b.example.com", "--config", tmp_path / "hipgw.toml", "--json")
    data = json.loads(run(*arguments).stdout)
    assert data["hit"].startswith("2001:2")
    assert not data["updated"]
    old = json.loads(run(*arguments, "--hip-version", "1").stdout)
    assert old["hit"].startswith("2001:1")


def test_lines_for_a_zone_file(run: Run, key: Path) -> None:
    arguments = ("--key", key, "--address", "192.0.2.1", "--address", "2001:db8::1", "--ttl", "60")
    lines = run("dns-record", "b.example.com", *arguments, "--zone-file").stdout.splitlines()
    assert lines[-2:] == [
        "b.example.com. 60 IN A 192.0.2.1",
        "b.example.com. 60 IN AAAA 2001:db8::1",
    ]
    assert lines[0].startswith("b.example.com. 60 IN HIP ( 2 2001")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("b.example.com",), "--key FILE, or --config FILE"),
        (("b..com", "--key", "KEY"), "no domain name"),
        (("b.example.com", "--key", "KEY", "--delete"), "--delete needs --update"),
        (("b.example.com", "--key", "KEY", "--zone", "example.com"), "need --update"),
        (("b.example.com", "--key", "KEY", "--update", "nobody"), "not an IPv4 or IPv6 address"),
        (("b.example.com", "--key", "KEY", "--address", "fe80::1"), "link-local"),
        (("b.example.com", "--key", "KEY", "--rvs", "a..b"), "no domain name"),
        (("b.example.com", "--key", "KEY", "--rvs", "192.0.2.1"), "192.0.2.1 is an address"),
        (("b.example.com", "--key", "/nonexistent"), "there is no key file"),
        (("b.example.com", "--delete", "--update", "127.0.0.1:1"), "cannot be used"),
    ],
)
def test_what_cannot_be(run: Run, key: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run("dns-record", *(key if text == "KEY" else text for text in arguments))
    assert result.exit_code != 0
    assert said in result.stderr


def test_the_key_of_an_update_is_kept_secret(run: Run, key: Path, tmp_path: Path) -> None:
    path = tmp_path / "update.key"
    path.write_text(KEY)
    arguments = ("--key", key, "--update", "127.0.0.1:1", "--zone", "example.com")
    result = run("dns-record", "b.example.com", *arguments, "--tsig-key", path)
    assert "open to others" in result.stderr
    path.chmod(0o600)
    path.write_text(KEY.replace("hmac-sha256", "hmac-md5"))
    result = run("dns-record", "b.example.com", *arguments, "--tsig-key", path)
    assert "no usable algorithm" in result.stderr
    assert SECRET not in result.stderr


def test_keys_as_bind_and_knot_write_them() -> None:
    key = parse_key(KEY.encode())
    assert str(key.name) == "lab."
    assert len(key.secret) == 32
    assert SECRET not in repr(key)
    assert "secret" not in repr(key)
    for text in ("", "key lab {};", KEY + KEY, KEY.replace(SECRET, "%"), "key: [id: lab]", "\xff"):
        with pytest.raises(NamingError) as caught:
            parse_key(text.encode())
        assert SECRET not in str(caught.value)
