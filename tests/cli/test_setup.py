"""keygen, id, check-config, run (up to the daemon), doctor, completion, help."""

import base64
import contextlib
import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from hipgw.cli import checks, daemon, events, keys, reference
from hipgw.cli.exits import MEANINGS, Exit
from hipgw.cli.main import SECTIONS, cli
from hipgw.config.load import load
from hipgw.config.names import LogFormat, LogLevel
from hipgw.control.api import EVENT_KINDS
from hipgw.identity.host_identity import KEY_KINDS, HostIdentity, LocalIdentity
from hipgw.identity.keyfile import load_key_file, save_key_file

Run = Callable[..., Result]
HIPGW = [sys.executable, "-m", "hipgw.cli.main"]


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
def test_keygen_makes_a_private_key_file(run: Run, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "host.pem"
    result = run("keygen", "--type", kind, file)
    assert result.exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(load_key_file(file).hit) in result.stdout


def test_keygen_does_not_replace_a_key_unless_forced(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "host.pem"
    run("keygen", file)
    before = file.read_bytes()
    result = run("keygen", file)
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert "--force" in result.stderr
    assert file.read_bytes() == before
    assert run("keygen", "--force", file).exit_code == 0
    assert file.read_bytes() != before


def test_keygen_where_nothing_can_be_written(run: Run, tmp_path: Path) -> None:
    result = run("keygen", tmp_path / "absent" / "host.pem")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_id_shows_what_others_need(run: Run, config_file: Path) -> None:
    key_file = config_file.parent / "host.pem"
    hit = load_key_file(key_file).hit
    answer = json.loads(run("id", key_file, "--json").stdout)
    identity = HostIdentity.from_wire(
        answer["algorithm"], base64.b64decode(answer["host_identity"])
    )
    assert identity.hit == hit == IPv6Address(answer["hit"])
    assert answer["hit_suite"] == identity.hit_suite
    text = run("id", key_file).stdout
    assert answer["host_identity"] in text
    assert answer["lsi"] in text
    assert "ECDSA P-256" in text


def test_stanza_of_id_can_be_pasted_into_a_config(run: Run, config_file: Path) -> None:
    other = config_file.parent / "other.pem"
    run("keygen", other)
    options = ("--name", "plant-c", "--address", "192.0.2.3", "--address", "2001:db8::3")
    stanza = run("id", other, *options).stdout.partition("other machines:\n")[2]
    config_file.write_text(config_file.read_text() + stanza)
    peer = load(config_file).peers[1]
    assert peer.name == "plant-c"
    assert peer.hit == load_key_file(other).hit
    assert [str(address) for address in peer.addresses] == ["192.0.2.3", "2001:db8::3"]


@pytest.mark.parametrize(
    ("hip", "line"),
    [("", ""), ("port = 7000", "port = 7000"), ('transport = "raw"', 'transport = "raw"')],
)
def test_id_of_a_config_has_its_port_and_transport(
    run: Run, config_file: Path, hip: str, line: str
) -> None:
    config_file.write_text(config_file.read_text() + f"[hip]\n{hip}\n[host]\nlsi = '1.2.3.4'\n")
    result = run("id", "--config", config_file, "--name", "x", "--address", "192.0.2.1")
    stanza = result.stdout.partition("other machines:\n")[2].strip().splitlines()
    assert stanza[4:] == ([line] if line else [])
    assert "1.2.3.4" in result.stdout


def test_id_shows_the_hit_of_an_rsa_key_in_both_versions(run: Run, config_file: Path) -> None:
    file = config_file.parent / "rsa.pem"
    run("keygen", "--type", "rsa2048", file)
    answer = json.loads(run("id", file, "--json").stdout)
    assert answer["hit_v1"] == str(load_key_file(file, 1).hit)
    assert "HIT in version 1" in run("id", file).stdout
    stanza = run("id", file, "--name", "plant-c").stdout.partition("other machines:\n")[2]
    text = config_file.read_text()
    config_file.write_text(text + stanza)
    assert str(load(config_file).peers[1].hit_v1) == answer["hit_v1"]
    config_file.write_text(text.replace("[endbox]", 'key_file_v1 = "rsa.pem"\n[endbox]'))
    answer = json.loads(run("id", "--config", config_file, "--json").stdout)
    assert answer["hit"].startswith("2001:22:")
    assert answer["hit_v1"] == str(load_key_file(file, 1).hit)


@pytest.mark.parametrize("bits", [1024, 0])
def test_id_of_a_key_that_version_2_does_not_have(run: Run, tmp_path: Path, bits: int) -> None:
    key = rsa.generate_private_key(65537, bits) if bits else dsa.generate_private_key(1024)
    file = tmp_path / "old.pem"
    identity = LocalIdentity(key, 1)
    save_key_file(file, identity)
    answer = json.loads(run("id", file, "--json").stdout)
    assert answer["hit"] == str(identity.hit)
    assert answer["hit_v1"] is None
    assert f'hit = "{identity.hit}"' in answer["peer"]
    assert run("id", file).exit_code == 0


def test_own_addresses_are_fit_for_a_stanza(run: Run, config_file: Path) -> None:
    result = run("id", config_file.parent / "host.pem")
    assert result.exit_code == 0
    assert "addresses = [" in result.stdout


def test_id_usage(run: Run, config_file: Path) -> None:
    assert run("id").exit_code == 2
    assert run("id", "a.pem", "--config", config_file).exit_code == 2
    assert run("id", config_file.parent / "host.pem", "--address", "x").exit_code == 2
    assert run("id", config_file.parent / "absent.pem").exit_code == 1


# -- check-config and run ------------------------------------------------------------------------


def test_good_config_is_summed_up(run: Run, config_file: Path) -> None:
    result = run("check-config", config_file)
    assert result.exit_code == 0
    assert "is good." in result.stdout
    assert str(load_key_file(config_file.parent / "host.pem").hit) in result.stdout
    assert "bridge br-hipgw: lo0 and hipgw0" in result.stdout
    assert "plant-b" in result.stdout
    answer = json.loads(run("check-config", config_file, "--json").stdout)
    assert answer["good"] is True


def test_a_mobile_router_that_nobody_can_register_with(run: Run, config_file: Path) -> None:
    text = '[identity]\nkey_file = "host.pem"\n[daemon]\nuser = "root"\n[mobile_router]\n'
    config_file.write_text(text)
    result = run("check-config", config_file)
    assert result.exit_code == 0
    assert "outside by interfaces with a default route" in result.stdout
    assert "nobody can be a client" in result.stderr
    assert json.loads(run("check-config", config_file, "--json").stdout)["warnings"]
    config_file.write_text(text + '[hip]\naccept = "any"\n')
    assert run("check-config", config_file).stderr == ""
    assert "warnings" not in json.loads(run("check-config", config_file, "--json").stdout)


@pytest.mark.parametrize("command", [("check-config",), ("run", "--config"), ("id", "--config")])
@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[hip]\nprot = 1\n", "error: {file}: hip.prot: unknown key\nhint:  did you mean 'port'?"),
        ("[hip\n", "line 9, column 5"),
    ],
)
def test_bad_config_exits_with_4(
    run: Run, config_file: Path, command: tuple[str, ...], text: str, part: str
) -> None:
    config_file.write_text(config_file.read_text() + text)
    result = run(*command, config_file)
    assert result.exit_code == 4
    assert result.stdout == ""
    assert part.format(file=config_file) in result.stderr


@pytest.mark.parametrize("command", [("check-config",), ("run", "--config"), ("id", "--config")])
def test_key_file_open_to_others_exits_with_4(
    run: Run, config_file: Path, command: tuple[str, ...]
) -> None:
    (config_file.parent / "host.pem").chmod(0o644)
    result = run(*command, config_file)
    assert result.exit_code == 4
    assert "open to others" in result.stderr
    assert "hint:  chmod 600" in result.stderr


def test_problems_as_json(run: Run, config_file: Path) -> None:
    config_file.write_text(config_file.read_text() + "[hip]\nport = 0\nx = 1\n")
    result = run("check-config", config_file, "--json")
    assert result.exit_code == 4
    answer = json.loads(result.stdout)
    assert answer["good"] is False
    assert {problem["key"] for problem in answer["problems"]} == {"hip.port", "hip.x"}
    config_file.write_text("[x\n")
    answer = json.loads(run("check-config", config_file, "--json").stdout)
    assert "line 1" in answer["problems"][0]["what"]


def test_run_hands_the_config_with_its_overrides_to_the_daemon(
    run: Run, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hipgw.daemon import main as daemon_main

    seen: list[Any] = []

    def run_daemon(config: Any, path: Path) -> int:
        seen.append((config, path))
        return 7

    monkeypatch.setattr(daemon_main, "run", run_daemon)
    assert run("run", "--config", config_file).exit_code == 7
    assert run("run", "--config", config_file, "-v", "--log-format", "json").exit_code == 7
    (plain, path), (changed, _) = seen
    assert path == config_file.absolute()
    assert plain.daemon.log_level is LogLevel.INFO
    assert changed.daemon.log_level is LogLevel.DEBUG
    assert changed.daemon.log_format is LogFormat.JSON
    assert changed.endbox == plain.endbox


# -- doctor --------------------------------------------------------------------------------------


def test_doctor_names_every_finding(run: Run) -> None:
    result = run("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(result.stdout)}
    assert {"kernel", "/dev/net/tun", "CAP_NET_ADMIN", "raw ESP"} <= set(findings)
    assert {"udp_gso", "udp_gro", "aes", "pclmulqdq", "receive buffer"} <= set(findings)
    if findings["/dev/net/tun"]["verdict"] == "good":
        assert {"tun_vnet_hdr", "tun_tso4", "tun_tso6", "tun_uso"} <= set(findings)
    bad = [finding for finding in findings.values() if finding["verdict"] == "bad"]
    assert result.exit_code == (1 if bad else 0)
    text = run("doctor")
    assert all(name in text.stdout for name in findings)
    assert text.exit_code == result.exit_code


def test_doctor_finds_a_missing_lan_port(run: Run, config_file: Path) -> None:
    result = run("doctor", "--config", config_file)
    assert result.exit_code == 1
    assert "port lo0" in result.stdout
    assert "no such interface" in result.stdout


@pytest.mark.parametrize(
    ("release", "verdict"), [("6.1.0-18-amd64", "good"), ("5.3.1", "bad"), ("odd", "bad")]
)
def test_doctor_judges_kernels(release: str, verdict: str) -> None:
    assert checks._kernel(release).verdict == verdict


def test_doctor_sees_a_taken_port() -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        finding = checks._port(port, socket.AF_INET, running=False)
        own = checks._port(port, socket.AF_INET, running=True)
    assert (finding.verdict, finding.detail) == ("bad", "taken by another program")
    assert (own.verdict, own.detail) == ("good", "taken by the hipgw daemon that runs")


def test_id_refuses_a_name_that_no_configuration_takes(run: Run, tmp_path: Path) -> None:
    run("keygen", tmp_path / "host.pem")
    result = run("id", "--name", 'quo"te', tmp_path / "host.pem")
    assert result.exit_code == 2
    assert "cannot be a peer's name" in result.stderr


# -- help, completion, documents -----------------------------------------------------------------


def test_document_is_up_to_date() -> None:
    document = Path(__file__).parents[2] / "docs" / "cli.md"
    assert document.read_text() == reference.render()


def test_every_command_is_in_a_section_and_has_help(run: Run) -> None:
    listed = {command.name for commands in SECTIONS.values() for command in commands}
    assert listed == set(cli.commands)
    overview = run("--help").stdout
    for name, command in cli.commands.items():
        assert f"  {name} " in overview
        result = run(name, "--help")
        assert result.exit_code == 0
        assert (command.help or "").splitlines()[0][:40] in result.stdout


def test_exit_statuses_are_explained() -> None:
    assert set(MEANINGS) == set(Exit)


def test_copies_of_names_agree_with_the_originals() -> None:
    """The commands list these themselves, so that --help need not import the originals."""
    assert keys.KEY_TYPES == KEY_KINDS
    assert events.KINDS == EVENT_KINDS
    assert tuple(name.value for name in LogFormat) == daemon.LOG_FORMATS


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hipgw.cli.main import cli; cli.main(['--help'], standalone_mode=False);"
        "heavy = {'pydantic', 'rich', 'cryptography', 'asyncio', 'pyroute2', 'uvloop', 'Crypto'};"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.strip() == "[]"


def test_help_is_quick() -> None:
    """In the measure of what the interpreter and click take by themselves."""

    def least(command: list[str]) -> float:
        times = []
        for _ in range(5):
            began = sum(os.times()[2:4])
            subprocess.run(command, capture_output=True, check=True)
            times.append(sum(os.times()[2:4]) - began)
        return min(times)

    bare = least([sys.executable, "-c", "import click, json, pathlib"])
    took = least([*HIPGW, "--help"])
    assert took < 5 * bare + 0.05, f"{took:.3f} s of CPU time, {bare:.3f} s without hipgw"


def test_version(run: Run) -> None:
    assert run("--version").stdout.startswith("hipgw ")


def test_unknown_command_exits_with_2(run: Run) -> None:
    assert run("statsu").exit_code == 2
    assert run("ping").exit_code == 2
    assert run("ping", "b", "-c", "0").exit_code == 2


def test_completion_script_is_accepted_by_bash(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "completion"
    file.write_text(run("completion", "bash").stdout)
    checked = subprocess.run(
        ["bash", "-c", f". {file} && complete -p hipgw"], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "_hipgw_completion hipgw" in checked.stdout


@pytest.mark.parametrize(("shell", "part"), [("zsh", "#compdef hipgw"), ("fish", "complete ")])
def test_completion_scripts_of_other_shells(run: Run, shell: str, part: str) -> None:
    script = run("completion", shell).stdout
    assert part in script
    assert f"_HIPGW_COMPLETE={shell}_complete" in script


def complete(words: str, **environment: str) -> list[str]:
    """What bash would offer after `words`."""
    result = subprocess.run(
        [sys.executable, "-c", "from hipgw.cli.main import main; main()"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "_HIPGW_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            **environment,
        },
    )
    assert result.stderr == ""
    return [line.partition(",")[2] for line in result.stdout.split()]


def test_commands_options_and_peers_are_completed(daemon: Any) -> None:
    assert "check-config" in complete("hipgw ch")
    assert "--json" in complete("hipgw status --")
    assert complete("hipgw ping pl", HIPGW_SOCKET=str(daemon.path)) == ["plant-b"]
    assert complete("hipgw ping pl", HIPGW_SOCKET="/nonexistent") == []


def test_reader_that_goes_away_is_no_error(daemon: Any) -> None:
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {' '.join(HIPGW)} sa --socket {daemon.path} | true"],
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_no_traceback_from_the_installed_program(tmp_path: Path) -> None:
    result = subprocess.run(
        [*HIPGW, "status", "--socket", tmp_path / "x"], capture_output=True, text=True
    )
    assert result.returncode == 3
    assert result.stderr.startswith("error: no daemon listens at")
    assert "Traceback" not in result.stderr


def test_tables_on_a_terminal_are_coloured_and_folded(daemon: Any) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "70"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [*HIPGW, "peers", "--socket", daemon.path], stdout=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert process.wait() == 0
    assert b"\x1b[" in shown
    plain = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).decode()
    assert all(len(line) <= 70 for line in plain.splitlines())
