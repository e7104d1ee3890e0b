"""/etc/resolv.conf gets a line, and is as it was afterwards."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.platform import resolv_conf
from hipgw.platform.journal import Journal

TEXT = """\
# made by somebody
search one.example two.example.
nameserver 192.0.2.53
nameserver 2001:db8::53
options edns0 trust-ad
"""


def test_what_is_in_it() -> None:
    found = resolv_conf.parse(resolv_conf.with_server(TEXT, "127.0.0.139", "1"))
    assert found.servers == ("192.0.2.53", "2001:db8::53")
    assert found.search == ("one.example", "two.example")
    assert found.trust_ad
    assert resolv_conf.parse("") == resolv_conf.ResolvConf()


@given(st.text("ab\n# nameserver1.:", max_size=60))
def test_any_text_is_as_it_was(text: str) -> None:
    changed = resolv_conf.with_server(text, "127.0.0.139", "77")
    assert changed.splitlines()[1] == "nameserver 127.0.0.139"
    assert resolv_conf.without_server(changed) == text
    assert resolv_conf.without_server(changed, "77") == text
    assert resolv_conf.without_server(changed, "78") == changed
    twice = resolv_conf.with_server(changed, "127.0.0.140", "78")
    assert resolv_conf.without_server(twice, "77") == resolv_conf.with_server(
        text, "127.0.0.140", "78"
    )


def test_nothing_of_others_is_lost_when_the_end_is_missing() -> None:
    changed = resolv_conf.with_server(TEXT, "127.0.0.139", "1").replace("# hipgw 1 end\n", "")
    assert resolv_conf.without_server(changed) == changed


def test_a_file_that_was_not_there_is_gone_again(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    resolv_conf.add(path, "127.0.0.139", "1")
    assert resolv_conf.read(path) == resolv_conf.ResolvConf()
    assert resolv_conf.remove(path)
    assert not path.exists()
    assert not resolv_conf.remove(path)
    path.touch()
    resolv_conf.add(path, "127.0.0.139", "1")
    assert resolv_conf.remove(path)
    assert path.read_text() == ""


def until(path: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while path.read_text() != text and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.read_text() == text


def test_the_keeper_puts_it_in_and_takes_it_out_when_the_daemon_ends(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    link = tmp_path / "link"
    path.write_text(TEXT)
    link.symlink_to(path)
    command = [sys.executable, "-I", "-S", resolv_conf.__file__, link, "127.0.0.139"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdin is not None
        assert keeper.stdout.readline() == b"ready\n"
        tag = str(keeper.pid)
        until(path, resolv_conf.with_server(TEXT, "127.0.0.139", tag))
        # A DHCP client that writes the file anew.
        path.write_text(fresh := "nameserver 198.51.100.53\n")
        until(path, resolv_conf.with_server(fresh, "127.0.0.139", tag))
        keeper.terminate()
        keeper.stdin.close()
        assert keeper.wait(10) == 0
    assert path.read_text() == fresh
    assert link.is_symlink()


def test_the_next_start_takes_out_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resolv.conf"
    monkeypatch.setattr(resolv_conf, "PATH", path)
    path.write_text(TEXT)
    journal = Journal(tmp_path / "state")
    journal.record_resolv_conf()
    resolv_conf.add(path, "127.0.0.139", "1")
    # The daemon and its keeper are killed.
    assert Journal(tmp_path / "state").recover() == 1
    assert path.read_text() == TEXT


def test_what_a_machine_without_power_has_left_is_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    gone = subprocess.Popen(["true"])
    gone.wait()
    lives = resolv_conf.with_server(TEXT, "127.0.0.77", str(os.getppid()))
    # The number of a process that is gone may be another's by now.
    text = resolv_conf.with_server(lives, "127.0.0.139", str(os.getpid()))
    text = resolv_conf.with_server(text, "127.0.0.53", str(gone.pid))
    path.write_text(text)
    resolv_conf.remove_stale(path, "127.0.0.139")
    assert path.read_text() == lives


def test_what_may_not_be_undone_is_left_to_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resolv.conf"
    monkeypatch.setattr(resolv_conf, "PATH", path)
    path.write_text(TEXT)
    journal = Journal(tmp_path / "state")
    journal.record_resolv_conf()
    resolv_conf.add(path, "127.0.0.139", "1")

    # The keeper was killed, and the daemon may not write the file.
    def refuse(*_: object) -> bool:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(resolv_conf, "remove", refuse)
        journal.undo()
    assert Journal(tmp_path / "state").recover() == 1
    assert path.read_text() == TEXT
    assert Journal(tmp_path / "state").recover() == 0


def test_a_file_that_is_too_long_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(text := TEXT + "# long\n" * 20000)
    with pytest.raises(OSError, match="too large"):
        resolv_conf.add(path, "127.0.0.139", "1")
    assert path.read_text() == text
