"""The socket's file: its mode, stale ones, living ones, and what else may be in its place."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hipgw.control.client import ControlClient
from hipgw.control.errors import NotReachableError
from hipgw.control.listening import ListeningSocket
from hipgw.control.server import ControlServer
from hipgw.errors import ControlError
from small_daemon import ServedDaemon, SmallDaemon


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_mode_is_0660_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        listening = ListeningSocket(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    listening.socket.close()


def test_mode_is_never_wider_while_it_is_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def note_instead(self: Path, mode: int) -> None:
        modes.append(stat.S_IMODE(self.stat().st_mode))

    monkeypatch.setattr(Path, "chmod", note_instead)
    before = os.umask(0)
    try:
        ListeningSocket(path).socket.close()
    finally:
        os.umask(before)
    assert modes == [0o660]


def test_group_of_the_socket(path: Path) -> None:
    listening = ListeningSocket(path, group="root")
    assert path.stat().st_gid == 0
    listening.socket.close()


def test_unknown_group_is_named(path: Path) -> None:
    with pytest.raises(ControlError, match="no group 'no-such'") as caught:
        ListeningSocket(path, group="no-such")
    assert "groupadd" in caught.value.hint


def test_socket_of_a_killed_daemon_is_replaced(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path;"
        "from hipgw.control.listening import ListeningSocket;"
        "keep = ListeningSocket(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert path.is_socket()
    with pytest.raises(NotReachableError, match="no daemon listens"):
        ControlClient(path)
    served = ServedDaemon(path)
    with ControlClient(path) as client:
        assert client.status()
    served.end()


def test_socket_of_a_living_daemon_is_refused_and_stays(daemon: ServedDaemon) -> None:
    with pytest.raises(ControlError, match="another hipgw listens at") as caught:
        ListeningSocket(daemon.path)
    assert "hipgw stop" in caught.value.hint
    with ControlClient(daemon.path) as client:
        assert client.status()


def test_living_daemon_with_a_full_queue_is_refused(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = []
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.setblocking(False)
            client.connect_ex(str(path))
            waiting.append(client)
        with pytest.raises(ControlError, match="another hipgw listens"):
            ListeningSocket(path)
        for client in waiting:
            client.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_something_else_in_its_place_is_left_alone(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/nowhere")
    with pytest.raises(ControlError, match="something else has this name"):
        ListeningSocket(path)
    assert path.exists() or path.is_symlink()


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="No such file") as caught:
        ListeningSocket(tmp_path / "absent" / "control.sock")
    assert str(tmp_path / "absent") in caught.value.hint


def test_two_daemons_started_at_once_do_not_both_win(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    winners: list[ListeningSocket] = []
    losers: list[ControlError] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        try:
            winners.append(ListeningSocket(path))
        except ControlError as error:
            losers.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert len(losers) == 7
    winners[0].socket.close()


def test_stop_removes_the_socket_and_only_its_own(path: Path) -> None:
    async def start_and_stop(replace: bool) -> None:
        server = ControlServer(path, SmallDaemon())
        await server.start()
        if replace:
            path.unlink()
            path.write_text("another's")
        await server.stop()
        await server.stop()

    asyncio.run(start_and_stop(replace=False))
    assert not path.exists()
    asyncio.run(start_and_stop(replace=True))
    assert path.read_text() == "another's"


def test_client_says_when_there_is_no_daemon(path: Path) -> None:
    with pytest.raises(NotReachableError, match=f"no daemon listens at {path}") as caught:
        ControlClient(path)
    assert "hipgw run" in caught.value.hint
    assert "HIPGW_SOCKET" in caught.value.hint


def test_client_says_when_the_daemon_does_not_answer(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(path))
        silent.listen()
        with (
            ControlClient(path, timeout_s=0.05) as client,
            pytest.raises(NotReachableError, match="does not answer"),
        ):
            client.status()


def test_client_says_when_something_else_listens(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        with ControlClient(path) as client:
            accepted, _ = other.accept()
            accepted.sendall(b"220 smtp ready\n")
            with pytest.raises(ControlError, match="is not hipgw"):
                client.status()
            accepted.close()


def test_client_says_when_it_may_not(path: Path) -> None:
    listening = ListeningSocket(path)
    code = (
        "import os, sys; from pathlib import Path; from hipgw.control.client import ControlClient;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: ControlClient(Path(sys.argv[1]))\n"
        "except Exception as error: print(error, '|', error.hint)"
    )
    if os.getuid():
        path.chmod(0)
        code = code.replace("os.setgroups([]); os.setgid(65534); os.setuid(65534)", "")
    for folder in (path.parent, *path.parent.parents):
        if folder.stat().st_uid == os.getuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    result = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert "may not talk to the daemon" in result.stdout, result.stderr
    assert "control_group" in result.stdout
    listening.socket.close()
