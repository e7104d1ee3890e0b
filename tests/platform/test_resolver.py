"""systemd-resolved is told by resolvectl; a script in its place writes down what it was told."""

from pathlib import Path

import pytest

from hipgw.errors import PlatformError
from hipgw.platform import resolv_conf, resolver


@pytest.fixture
def resolvectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script; it fails if there is a file `refuse` beside it."""
    script = tmp_path / "resolvectl"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/told\n'
        f"[ ! -e {tmp_path}/refuse ] || {{ echo no such link >&2; exit 1; }}\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return script


def test_names_of_the_suffix_and_no_others(resolvectl: Path) -> None:
    link = resolver.ResolvedLink("hip0", "127.0.0.139", "hip")
    assert (resolvectl.parent / "told").read_text().splitlines() == [
        "dns hip0 127.0.0.139",
        "domain hip0 ~hip",
        "default-route hip0 no",
        "dnssec hip0 no",
    ]
    link.close()


def test_a_refusal_is_said(resolvectl: Path) -> None:
    (resolvectl.parent / "refuse").touch()
    with pytest.raises(PlatformError, match="no such link") as caught:
        resolver.ResolvedLink("hip0", "127.0.0.139", "hip")
    assert "resolv.conf" in caught.value.hint


def test_it_is_asked_if_resolv_conf_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(resolver, "_RESOLVED_FILES", run)
    monkeypatch.setattr(resolv_conf, "PATH", file)
    file.write_text("nameserver 127.0.0.53\n")
    assert not resolver.resolved_is_asked()
    run.mkdir()
    assert resolver.resolved_is_asked()
    file.write_text("nameserver 192.0.2.53\n")
    assert not resolver.resolved_is_asked()
    (run / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    file.unlink()
    file.symlink_to(run / "resolv.conf")
    assert resolver.resolved_is_asked()
