"""import, export, and OpenHIP's own commands."""

import base64
import json
import os
import stat
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from hipgw.cli.exits import Exit
from hipgw.cli.openhip import daemon as hip_command
from hipgw.cli.openhip.tools import TOOLS
from hipgw.config.load import load
from hipgw.config.names import Accept, Announce, HipVersionName, LogLevel
from hipgw.config.openhip.conf import read_conf
from hipgw.config.openhip.hosts import read_known_hosts, read_my_hosts
from hipgw.config.openhip.values import Place
from hipgw.config.schema import Config
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keyfile import load_key_file

Run = Callable[..., Result]
SAMPLES = Path(__file__).parents[1] / "vectors" / "openhip"
HITGEN_CONF = Path(__file__).parents[1] / "config" / "openhip" / "hitgen-hip.conf"
PEER = "10.77.0.2"


@pytest.fixture
def openhip(tmp_path: Path) -> Path:
    """A folder with OpenHIP's files of a node that knows one other."""
    folder = tmp_path / "hip"
    folder.mkdir()
    (folder / "my_host_identities.xml").write_bytes((SAMPLES / "v4-udp.A.my.xml").read_bytes())
    (folder / "known_host_identities.xml").write_bytes(
        (SAMPLES / "v4-udp.A.known.xml").read_bytes()
    )
    (folder / "hip.conf").write_bytes(HITGEN_CONF.read_bytes())
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, str | None, bool]]:
    """Catches what the daemon would be run with."""
    calls: list[tuple[Config, str | None, bool]] = []

    def caught(config: Config, _file: Path, called: str | None, *, background: bool) -> int:
        calls.append((config, called, background))
        return 0

    monkeypatch.setattr(hip_command, "_run", caught)
    return calls


def test_import_says_what_it_made(run: Run, openhip: Path, tmp_path: Path) -> None:
    result = run("import", "openhip", openhip, "--output", tmp_path / "new")
    assert result.exit_code == 0
    assert "2001:10:f684:896d:5ebd:fd0:25ce:2f6e" in result.stdout
    assert "hip_sa: lists every suite" in result.stderr
    assert "dh_lifetime" in result.stderr
    config = load(tmp_path / "new" / "hipgw.toml")
    assert config.peers[0].name == "B-1024"
    assert run("check-config", tmp_path / "new" / "hipgw.toml").exit_code == 0


def test_two_imported_machines_can_tell_each_other_of_version_2(
    run: Run, openhip: Path, tmp_path: Path
) -> None:
    """As docs/openhip.md has it, though at first both have peers of version 1 alone."""
    run("import", "openhip", openhip, "--output", tmp_path)
    file = tmp_path / "hipgw.toml"
    assert load(file).spoken == (HipVersionName.V1,)
    answer = json.loads(run("id", "--config", file, "--json").stdout)
    assert answer["hit"] == str(load_key_file(tmp_path / "host.pem").hit)
    assert answer["hit_v1"] == "2001:10:f684:896d:5ebd:fd0:25ce:2f6e"
    file.write_text(file.read_text().replace("[hip]", '[hip]\nversions = ["v1"]'))
    answer = json.loads(run("id", "--config", file, "--json").stdout)
    assert answer["hit"] == "2001:10:f684:896d:5ebd:fd0:25ce:2f6e"


def test_import_into_a_folder_that_has_one(run: Run, openhip: Path, tmp_path: Path) -> None:
    options = ("import", "openhip", openhip, "--output", tmp_path)
    assert run(*options).exit_code == 0
    result = run(*options)
    assert result.exit_code == Exit.CONFIG
    assert "--force" in result.stderr
    assert run(*options, "--force").exit_code == 0


def test_import_from_nowhere(run: Run, tmp_path: Path) -> None:
    result = run("import", "openhip", tmp_path / "absent")
    assert result.exit_code == Exit.CONFIG
    assert "no such folder" in result.stderr
    result = run("import", "openhip", tmp_path, "--output", tmp_path / "new")
    assert result.exit_code == Exit.CONFIG
    assert "my_host_identities.xml: no such file" in result.stderr


def test_import_names_file_and_line(run: Run, openhip: Path, tmp_path: Path) -> None:
    (openhip / "hip.conf").write_text("<hip_configuration>\n<ual>x</ual></hip_configuration>")
    result = run("import", "openhip", openhip, "--output", tmp_path)
    assert result.exit_code == Exit.CONFIG
    assert "hip.conf: line 2: <ual>" in result.stderr


@pytest.mark.parametrize(
    ("lsi", "why"),
    [("192.0.2.1", "does not lie in 1.0.0.0/8"), ("1.0.0.0", "is the address of no machine")],
)
def test_import_says_why_an_lsi_changes(
    run: Run, openhip: Path, tmp_path: Path, lsi: str, why: str
) -> None:
    file = openhip / "known_host_identities.xml"
    file.write_text(file.read_text().replace("1.238.191.96", lsi))
    result = run("import", "openhip", openhip, "--output", tmp_path / "new")
    assert f"its LSI {lsi} {why}" in result.stderr


def test_import_says_what_missing_files_mean(run: Run, openhip: Path, tmp_path: Path) -> None:
    for name in ("hip.conf", "known_host_identities.xml"):
        (openhip / name).unlink()
    result = run("import", "openhip", openhip, "--output", tmp_path / "new")
    assert "hip.conf is not there; OpenHIP then takes its defaults" in result.stderr
    assert "known_host_identities.xml is not there; no peer is known then" in result.stderr


def test_export_writes_the_public_files(run: Run, openhip: Path, tmp_path: Path) -> None:
    run("import", "openhip", openhip, "--output", tmp_path)
    options = ("export", "openhip", tmp_path / "out", "--config", tmp_path / "hipgw.toml")
    result = run(*options, "--address", "192.0.2.1")
    assert result.exit_code == 0
    written = [Path(line) for line in result.stdout.split()]
    assert [file.name for file in written] == [
        "known_host_identities.xml",
        "hip.conf",
        "A-1024_host_identities.pub.xml",
    ]
    (me,) = read_known_hosts(written[2]).hosts
    assert me.addresses == (IPv4Address("192.0.2.1"),)
    assert not (tmp_path / "out" / "my_host_identities.xml").exists()
    assert run(*options, "--private").exit_code == 0
    assert (tmp_path / "out" / "my_host_identities.xml").exists()
    assert run(*options, "--address", "x").exit_code == Exit.USAGE


def test_export_under_another_name(run: Run, openhip: Path, tmp_path: Path) -> None:
    """Also where hip.conf prefers the identity by its old name, which OpenHIP would not find."""
    (openhip / "hip.conf").write_text(
        "<hip_configuration><preferred_hi>A-1024</preferred_hi></hip_configuration>"
    )
    run("import", "openhip", openhip, "--output", tmp_path)
    options = ("--config", tmp_path / "hipgw.toml", "--name", "new-1024", "--private")
    out = tmp_path / "out"
    assert run("export", "openhip", out, *options).exit_code == 0
    assert read_known_hosts(out / "new-1024_host_identities.pub.xml").hosts[0].name == "new-1024"
    assert read_my_hosts(out / "my_host_identities.xml").hosts[0].name == "new-1024"
    assert read_conf(out / "hip.conf").preferred_hi == "new-1024"


def test_export_without_a_key_that_openhip_has(run: Run, config_file: Path) -> None:
    result = run("export", "openhip", config_file.parent / "out", "--config", config_file)
    assert result.exit_code == Exit.CONFIG
    assert "host.pem" in result.stderr


# -- hip ------------------------------------------------------------------------------------------


def hip(run: Run, openhip: Path, *arguments: object) -> Result:
    state = openhip.parent / "state"
    return run("openhip", "hip", *arguments, "--sysconfdir", openhip, "--state", state)


def test_hip_runs_with_openhips_files(
    run: Run, openhip: Path, started: list[tuple[Config, str | None, bool]]
) -> None:
    assert hip(run, openhip).exit_code == 0
    ((config, called, background),) = started
    assert config.roles == ("host",)
    assert [peer.name for peer in config.peers] == ["B-1024"]
    assert config.hip.accept is Accept.PEERS
    assert config.daemon.log_level is LogLevel.INFO
    assert called is None
    assert not background
    state = openhip.parent / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    # Read anew at each start, another key of the same name included.
    (openhip / "known_host_identities.xml").unlink()
    other = (SAMPLES / "v4-raw.A.my.xml").read_bytes()
    (openhip / "my_host_identities.xml").write_bytes(other)
    assert hip(run, openhip).exit_code == 0
    assert started[1][0].peers == ()
    key_file = started[1][0].identity.key_file_v1
    assert key_file is not None
    expected = read_my_hosts(openhip / "my_host_identities.xml").hosts[0].hit
    assert load_key_file(key_file, 1).hit == expected


def test_every_flag_of_hip(
    run: Run, openhip: Path, started: list[tuple[Config, str | None, bool]]
) -> None:
    flags = ("-v", "-d", "-r1", "-o", "-a", "-p", "-nr", "-mh", "-u", "-t", PEER)
    result = hip(run, openhip, *flags)
    assert result.exit_code == 0
    ((config, called, background),) = started
    assert config.daemon.log_level is LogLevel.DEBUG
    assert config.hip.opportunistic
    assert config.hip.accept is Accept.ANY
    assert HipVersionName.V1 in config.hip.versions
    assert config.mobility.announce is Announce.ALL
    assert called == "B-1024"
    assert background
    for flag in ("-r1", "-p", "-nr", "-u"):
        assert f"{flag}: without effect" in result.stderr
    # The socket of HIPGW_SOCKET, by which hipstatus asks too.
    assert config.daemon.control_socket == Path("/nonexistent/control.sock")
    assert hip(run, openhip, "-q").exit_code == 0
    assert started[1][0].daemon.log_level is LogLevel.ERROR


def test_hip_with_another_hip_conf(
    run: Run, openhip: Path, started: list[tuple[Config, str | None, bool]]
) -> None:
    other = openhip.parent / "other.conf"
    other.write_text("<hip_configuration><ual>77</ual></hip_configuration>")
    assert hip(run, openhip, "-conf", other).exit_code == 0
    assert started[0][0].hip.idle_close_s == 77
    result = hip(run, openhip, "-conf", openhip / "absent")
    assert result.exit_code == Exit.CONFIG
    assert "no such file" in result.stderr


def test_files_of_the_current_folder_come_first(
    run: Run,
    openhip: Path,
    started: list[tuple[Config, str | None, bool]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("hip.conf").write_text("<hip_configuration><ual>99</ual></hip_configuration>")
    assert hip(run, openhip).exit_code == 0
    assert started[0][0].hip.idle_close_s == 99
    assert started[0][0].peers


def test_a_rendezvous_server(
    run: Run, openhip: Path, started: list[tuple[Config, str | None, bool]]
) -> None:
    conf = "<min_reg_lifetime>100</min_reg_lifetime><max_reg_lifetime>144</max_reg_lifetime>"
    (openhip / "hip.conf").write_text(f"<hip_configuration>{conf}</hip_configuration>")
    result = hip(run, openhip, "-v", "-rvs")
    assert result.exit_code == 0, result.stderr
    rvs = started[0][0].rvs
    assert rvs is not None
    assert (rvs.min_lifetime_s, rvs.max_lifetime_s) == (22.6, 1024)
    assert started[0][0].roles == ("host", "rvs")


def test_a_mobile_router(
    run: Run, openhip: Path, started: list[tuple[Config, str | None, bool]]
) -> None:
    conf = "".join(f"<outbound_interface>{name}</outbound_interface>" for name in ("eth1", "wwan0"))
    (openhip / "hip.conf").write_text(f"<hip_configuration>{conf}</hip_configuration>")
    result = hip(run, openhip, "-v", "-mr")
    assert result.exit_code == 0, result.stderr
    router = started[0][0].mobile_router
    assert router is not None
    assert router.external_interfaces == ("eth1", "wwan0")
    assert "outbound_interface" not in result.stderr
    # OpenHIP's own limits, as far as hipgw goes.
    assert (router.min_lifetime_s, router.max_lifetime_s) == (16, 86400)
    assert started[0][0].roles == ("host", "mobile_router")
    (openhip / "hip.conf").unlink()
    assert hip(run, openhip, "-mr").exit_code == 0
    router = started[1][0].mobile_router
    assert router is not None
    assert router.external_interfaces == ()


@pytest.mark.parametrize(
    ("address", "status", "what"),
    [("192.0.2.99", Exit.CONFIG, "no known host"), ("x", Exit.USAGE, "not an address")],
)
def test_unknown_address_to_call(
    run: Run, openhip: Path, started: list[object], address: str, status: Exit, what: str
) -> None:
    result = hip(run, openhip, "-t", address)
    assert result.exit_code == status
    assert what in result.stderr
    assert not started


def test_whoever_is_at_an_address_is_called(
    run: Run, openhip: Path, started: list[tuple[Config, str, bool]]
) -> None:
    assert hip(run, openhip, "-o", "-t", "192.0.2.99").exit_code == 0
    ((config, called, _),) = started
    assert config.hip.opportunistic
    assert called == "192.0.2.99"


def test_unknown_flag(run: Run, openhip: Path) -> None:
    assert hip(run, openhip, "-i3").exit_code == Exit.USAGE


def test_the_background_has_its_output_in_a_file(tmp_path: Path) -> None:
    log = tmp_path / "hip.log"
    child = os.fork()
    if not child:
        code = 1
        try:
            if hip_command._to_background(log):
                os._exit(0)
            os.write(1, f"{os.getsid(0) == os.getpid()}".encode())
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    for _ in range(1000):
        if log.exists() and log.read_text():
            break
        os.sched_yield()
        __import__("time").sleep(0.01)
    assert log.read_text() == "True"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


# -- hitgen, hi2dns, hipstatus --------------------------------------------------------------------


def hitgen(run: Run, folder: Path, *arguments: object) -> Result:
    return run("openhip", "hitgen", *arguments, "--sysconfdir", folder)


@pytest.mark.parametrize(
    ("options", "kind", "bits"),
    [
        ((), "RSA", 2048),
        (("-bits", 1024), "DSA", 1024),
        (("-type", "DSA"), "DSA", 1024),
        (("-type", "RSA", "-length", 128), "RSA", 1024),
        (("-type", "RSA", "-bits", 1536), "RSA", 1536),
    ],
)
def test_hitgen_makes_identities(
    run: Run, tmp_path: Path, options: tuple[object, ...], kind: str, bits: int
) -> None:
    result = hitgen(
        run, tmp_path, "-v", "-name", "x", "-noinput", "-anon", "-incoming", "-r1count", 7, *options
    )
    assert result.exit_code == 0
    file = tmp_path / "my_host_identities.xml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (host,) = read_my_hosts(file).hosts
    assert host.name == f"x-{bits}"
    assert host.length == bits // 8
    assert host.anonymous
    assert not host.incoming
    assert host.r1_count == 7
    assert str(host.hit) in result.stdout
    assert host.key is not None
    assert host.key.algorithm.name == kind
    key = host.key.private_key(Place(file, 1, "key"))
    assert LocalIdentity(key, 1).hit == host.hit


def test_hitgen_appends_only_if_asked(run: Run, tmp_path: Path) -> None:
    assert hitgen(run, tmp_path, "-name", "a").exit_code == 0
    result = hitgen(run, tmp_path, "-name", "b")
    assert result.exit_code == Exit.NO
    assert "-append" in result.stderr
    assert hitgen(run, tmp_path, "-name", "b", "-append").exit_code == 0
    hosts = read_my_hosts(tmp_path / "my_host_identities.xml").hosts
    assert [host.name for host in hosts] == ["a-2048", "b-2048"]


@pytest.mark.parametrize(
    "options",
    [("-type", "RSA", "-bits", 512), ("-bits", 2048), ("-type", "RSA", "-bits", 8192)],
)
def test_hitgen_refuses_lengths(run: Run, tmp_path: Path, options: tuple[object, ...]) -> None:
    result = hitgen(run, tmp_path, *options)
    assert result.exit_code == Exit.NO
    assert "take" in result.stderr
    assert hitgen(run, tmp_path, "-bits", 1024, "-length", 128).exit_code == Exit.USAGE


def test_hitgen_publishes_and_writes_a_hip_conf(
    run: Run, openhip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for count in (1, 2):
        assert hitgen(run, openhip, "-publish", "-name", "x").exit_code == 0
        hosts = read_known_hosts(Path("x_host_identities.pub.xml")).hosts
        assert len(hosts) == count
        assert all(host.key is None for host in hosts)
    assert hitgen(run, openhip, "-conf").exit_code == 0
    made, expected = read_conf(Path("hip.conf")), read_conf(HITGEN_CONF)
    assert made == expected


def test_hi2dns_writes_records(run: Run, openhip: Path) -> None:
    file = openhip / "my_host_identities.xml"
    result = run("openhip", "hi2dns", file)
    assert result.exit_code == 0
    owner, class_, type_, *rest = result.stdout.split()
    assert (owner, class_, type_) == ("A", "IN", "HIP")
    assert rest[1:3] == ["2", "20010010F684896D5EBD0FD025CE2F6E"]
    key = base64.b64decode(rest[3])
    assert key[:4] == b"\x03\x01\x00\x01"
    assert len(key) == 4 + 128
    djb = run("openhip", "hi2dns", "--djb", "--sysconfdir", openhip).stdout
    assert djb.startswith(r":A:55:\020\002\000\204\040\001\000\020")
    text = file.read_text().replace("A-1024", "a.example-1024")
    file.write_text(text)
    assert run("openhip", "hi2dns", file).stdout.startswith("a.example.\tIN")


@pytest.mark.parametrize("name", ["x IN A 192.0.2.1 ;-1024", "../up-1024", "a:b", "-", "x" * 64])
def test_hi2dns_writes_no_name_that_a_zone_file_misreads(
    run: Run, openhip: Path, name: str
) -> None:
    file = openhip / "my_host_identities.xml"
    file.write_text(file.read_text().replace("A-1024", name))
    for option in ((), ("--djb",)):
        result = run("openhip", "hi2dns", *option, file)
        assert result.exit_code == Exit.CONFIG
        assert not result.stdout
        assert "cannot be a name in DNS" in result.stderr


def test_hi2dns_of_what_has_no_key(run: Run, openhip: Path) -> None:
    result = run("openhip", "hi2dns", openhip / "known_host_identities.xml")
    assert result.exit_code == Exit.CONFIG
    assert "my_host_identities" in result.stderr


@pytest.mark.parametrize("word", ["threads", "ids", "peers", "lsi", "dst", "sadb", "spi"])
def test_hipstatus_answers_each_word(ask: Run, word: str) -> None:
    result = ask("openhip", "hipstatus", word)
    assert result.exit_code == 0
    assert result.stdout


def test_hipstatus_reads_words(ask: Run) -> None:
    command = next(tool for tool in TOOLS if tool.name == "hipstatus")
    result = CliRunner().invoke(command, [], input="peers\nnonsense\n\nquit\nsadb\n")
    assert result.exit_code == 0
    assert "plant-b" in result.stdout
    assert "the security associations" in result.stdout


def test_hipstatus_without_a_daemon(run: Run) -> None:
    assert run("openhip", "hipstatus", "peers").exit_code == Exit.NOT_REACHABLE


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: str(tool.name))
def test_programs_of_their_own_show_errors(tool: click.Command, tmp_path: Path) -> None:
    result = CliRunner().invoke(tool, ["--help"])
    assert result.exit_code == 0
    if tool.name != "hipstatus":
        result = CliRunner().invoke(tool, ["--sysconfdir", str(tmp_path / "absent"), "-nonsense"])
        assert result.exit_code == Exit.USAGE
