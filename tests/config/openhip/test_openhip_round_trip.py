"""Everything that OpenHIP reads survives the way into hipgw.toml and back."""

import re
import stat
import tomllib
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
import tomli_w

from hipgw.config.load import load
from hipgw.config.names import CompatName, HipVersionName
from hipgw.config.openhip import directory
from hipgw.config.openhip.conf import HipConf, default_of, read_conf, tags
from hipgw.config.openhip.exporting import Exported
from hipgw.config.openhip.hosts import Hosts, read_known_hosts, read_my_hosts
from hipgw.config.openhip.importing import Imported, covered_tags
from hipgw.config.openhip.mapping import ELSEWHERE, KEPT, TAGS
from hipgw.config.schema import Config
from hipgw.config.tables.dht import DhtConfig
from hipgw.errors import ConfigError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keyfile import load_key_file
from hipgw.protocol.path import Transport

HERE = Path(__file__).parent
SAMPLES = HERE.parents[1] / "vectors" / "openhip"
NODES = sorted(file.name.removesuffix(".my.xml") for file in SAMPLES.glob("*.my.xml"))
ENDBOXES = [node for node in NODES if node.startswith("vpls")]


def installation(folder: Path, node: str, conf: Path | None = None) -> Path:
    """A folder with OpenHIP's files of one of the recorded nodes."""
    folder.mkdir(exist_ok=True)
    (folder / "my_host_identities.xml").write_bytes((SAMPLES / f"{node}.my.xml").read_bytes())
    known = SAMPLES / f"{node}.known.xml"
    if known.exists():
        (folder / "known_host_identities.xml").write_bytes(known.read_bytes())
    if conf is not None:
        text = conf.read_text()
        name = read_my_hosts(folder / "my_host_identities.xml").hosts[0].name
        if node not in ENDBOXES:
            # It is what makes an endbox of it.
            text = re.sub(r" *<cfg_library>.*\n", "", text)
        (folder / "hip.conf").write_text(text.replace("E1-1024", name))
    return folder


def imported(folder: Path, output: Path) -> tuple[Imported, Config]:
    result = directory.import_directory(folder, output, ports=("eth1",))
    return result, load(output / "hipgw.toml")


def exported(config: Config) -> Exported:
    return directory.export_config(config)


def same(folder: Path, back: Exported) -> None:
    """What OpenHIP reads in a folder is what it would read in the exported files."""
    known_file, conf_file = folder / "known_host_identities.xml", folder / "hip.conf"
    known = read_known_hosts(known_file) if known_file.exists() else Hosts()
    mine = read_my_hosts(folder / "my_host_identities.xml")
    conf = read_conf(conf_file) if conf_file.exists() else HipConf()
    assert back.known == known
    assert back.mine.hosts == mine.hosts
    assert back.conf == conf


@pytest.mark.parametrize("conf", [None, "full-hip.conf", "hitgen-hip.conf"])
@pytest.mark.parametrize("node", NODES)
def test_nothing_is_lost(tmp_path: Path, node: str, conf: str | None) -> None:
    folder = installation(tmp_path / "hip", node, HERE / conf if conf else None)
    _, config = imported(folder, tmp_path)
    same(folder, exported(config))


@pytest.mark.parametrize("node", [*NODES[:60:20], *NODES[-8:]])
def test_written_files_are_read_again(tmp_path: Path, node: str) -> None:
    folder = installation(tmp_path / "hip", node, HERE / "full-hip.conf")
    imported(folder, tmp_path)
    back = tmp_path / "back"
    directory.export_directory(tmp_path / "hipgw.toml", back, private=True)
    _, config = imported(back, tmp_path / "again")
    same(folder, exported(config))


def test_the_configuration_says_what_openhip_does(tmp_path: Path) -> None:
    folder = installation(tmp_path / "hip", "rvs-raw.A", HERE / "full-hip.conf")
    _, config = imported(folder, tmp_path)
    assert config.roles == ("host",)
    assert config.host is not None
    assert config.host.lsi == IPv4Address("1.254.125.243")
    assert config.hip.transport is Transport.RAW
    assert config.hip.puzzle_difficulty == 12
    assert config.hip.retries == 6
    assert config.hip.idle_close_s == 700
    assert config.esp.rekey_s == 1200
    assert [group.wire_id for group in config.hip.v1.dh_groups] == [4, 3]
    assert [suite.wire_id for suite in config.hip.v1.hip_suites] == [2, 1, 5]
    assert [suite.wire_id for suite in config.hip.v1.esp_suites] == [4]
    assert [str(network) for network in config.mobility.ignored_addresses] == ["10.78.0.1/32"]
    assert config.mobility.preferred_interfaces == ("eth0",)
    assert config.dht is not None
    assert [str(server) for server in config.dht.servers] == ["192.0.2.10:5851"]
    assert (config.dht.name, config.dht.private_addresses) == ("A-1024", True)
    b, s = config.peers
    assert (b.name, s.name) == ("B-1024", "S-1024")
    # By way of the rendezvous server first, as OpenHIP does.
    assert [str(address) for address in b.rvs] == ["10.77.0.9"]
    assert [str(address) for address in b.addresses] == ["10.77.0.77"]
    assert b.lsi == IPv4Address("1.222.121.39")
    for peer in config.peers:
        assert config.versions_of(peer) == (HipVersionName.V1,)
        assert config.compat_of(peer, HipVersionName.V1) is CompatName.OPENHIP


def test_keys_are_the_same_and_nobody_elses(tmp_path: Path) -> None:
    for node in ("v4-raw.A", "dsa-raw.A", "rsa512.A", "rsa2048-udp.A"):
        folder = installation(tmp_path / "hip", node)
        output = tmp_path / node
        result, config = imported(folder, output)
        key_file = config.identity.key_file_v1
        assert key_file is not None
        for file in (key_file, config.identity.key_file, output / "hipgw.toml"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        weak = config.hip.v1.weak_keys
        assert weak == (node == "rsa512.A")
        identity = load_key_file(key_file, 1, weak_keys=weak)
        assert identity.hit == result.hit
        assert result.hit == read_my_hosts(folder / "my_host_identities.xml").hosts[0].hit
        assert load_key_file(config.identity.key_file).version == 2


def test_ipv6_peers_are_called_without_udp(tmp_path: Path) -> None:
    _, config = imported(installation(tmp_path / "hip", "v6-raw.A"), tmp_path)
    assert config.transport_of(config.peers[0]) is Transport.RAW
    _, config = imported(installation(tmp_path / "hip", "v46-udp.A"), tmp_path / "two")
    assert config.transport_of(config.peers[0]) is Transport.UDP


@pytest.mark.parametrize("node", ENDBOXES)
def test_endboxes(tmp_path: Path, node: str) -> None:
    folder = installation(tmp_path / "hip", node, HERE / "full-hip.conf")
    _, config = imported(folder, tmp_path)
    known = {host.hit: host for host in read_known_hosts(folder / KNOWN).hosts}
    assert config.roles == ("endbox",)
    endbox = config.endbox
    assert endbox is not None
    assert endbox.ports == ("eth1",)
    assert endbox.mode == "static"
    (peer,) = config.peers
    assert peer.legacy_nodes == known[peer.hit].legacy_nodes
    (own,) = [host for host in known.values() if host.hit != peer.hit]
    assert endbox.legacy_nodes == own.legacy_nodes
    assert {frozenset(pair) for pair in endbox.allowed_pairs or ()} == {
        frozenset({"self", peer.name})
    }
    assert endbox.hello_s == 5
    assert endbox.heartbeat_s == 3
    assert str(endbox.multicast_group) == "239.7.7.7"
    # As the recording has it on the wire.
    assert endbox.wire_multicast_spi == 0x34120000
    assert endbox.multicast_key is not None
    assert stat.S_IMODE(endbox.multicast_key.stat().st_mode) == 0o600
    assert config.mobility.interfaces == ("eth0", "wlan0")


KNOWN = "known_host_identities.xml"


def test_every_tag_has_a_key_or_a_reason() -> None:
    assert set(covered_tags()) == set(tags())
    assert not (set(TAGS) & set(KEPT) or set(TAGS) & set(ELSEWHERE) or set(KEPT) & set(ELSEWHERE))


def test_what_has_no_effect_is_named(tmp_path: Path) -> None:
    result, _ = imported(
        installation(tmp_path / "hip", "vpls-raw.E1", HERE / "full-hip.conf"), tmp_path
    )
    kept = {note.where for note in result.notes if note.kept}
    assert set(KEPT) <= kept
    for note in result.notes:
        assert note.what
        assert "000102030405" not in note.what


def test_defaults_ask_for_no_weak_suite(tmp_path: Path) -> None:
    _, config = imported(
        installation(tmp_path / "hip", "v4-raw.A", HERE / "hitgen-hip.conf"), tmp_path
    )
    assert [suite.wire_id for suite in config.hip.v1.esp_suites] == [1]
    assert [suite.wire_id for suite in config.hip.v1.hip_suites] == [1]
    assert not config.hip.v1.weak_keys


@pytest.mark.parametrize("tag", TAGS)
def test_each_mapping_goes_both_ways(tag: str) -> None:
    mapped = TAGS[tag]
    for value in (default_of(tag), getattr(read_conf(HERE / "full-hip.conf"), tag)):
        forward = mapped.forward(value)
        if forward is not None:
            assert mapped.backward(forward) == value


def test_changes_of_the_configuration_reach_openhip(tmp_path: Path) -> None:
    folder = installation(tmp_path / "hip", "rvs-raw.A", HERE / "hitgen-hip.conf")
    imported(folder, tmp_path)
    table = tomllib.loads((tmp_path / "hipgw.toml").read_text())
    table["hip"] = {**table["hip"], "idle_close_s": 60, "transport": "raw"}
    table["hip"]["v1"] = {**table["hip"].get("v1", {}), "esp_suites": ["3DES-SHA1"]}
    table["esp"] = {"rekey_s": 900}
    table["peer"][0]["addresses"] = ["10.77.0.9", "192.0.2.1"]
    del table["peer"][1]
    table["peer"].append({"name": "new", "hit": "2001:11::1", "addresses": ["192.0.2.7"]})
    (tmp_path / "hipgw.toml").write_text(tomli_w.dumps(table))
    back = exported(load(tmp_path / "hipgw.toml"))
    assert back.conf.ual == 60
    assert back.conf.disable_udp
    assert back.conf.esp_sa == (2,)
    assert back.conf.hip_sa == (1, 2, 3, 4, 5, 6)
    assert back.conf.sa_lifetime == 900
    assert [host.name for host in back.known.hosts] == ["B-1024", "new"]
    assert back.known.hosts[0].addresses == (IPv4Address("192.0.2.1"),)
    assert back.known.hosts[0].rendezvous == (IPv4Address("10.77.0.9"),)
    assert back.known.hosts[1].hit == IPv6Address("2001:11::1")


def test_a_mobile_router_reaches_openhip(tmp_path: Path) -> None:
    folder = installation(tmp_path / "hip", "rvs-raw.A", HERE / "hitgen-hip.conf")
    imported(folder, tmp_path)
    file = tmp_path / "hipgw.toml"
    before = file.read_text()
    for outside, expected in ((["eth1", "wwan*", "eth2"], ("eth1", "eth2")), ([], ())):
        router = {"mobile_router": {"external_interfaces": outside}}
        file.write_text(tomli_w.dumps(tomllib.loads(before) | router))
        back = exported(load(file))
        assert back.conf.outbound_interface == expected
        assert ("outbound_interface" in back.conf.given) == bool(expected)


def test_changes_of_an_endbox_reach_openhip(tmp_path: Path) -> None:
    folder = installation(tmp_path / "hip", "vpls-raw.E1", HERE / "full-hip.conf")
    more = (SAMPLES / "v4-raw.A.my.xml").read_text()
    identity = more[more.index("  <host_identity") : more.index("</my_host_identities>")]
    my_file = folder / "my_host_identities.xml"
    my_file.write_text(my_file.read_text().replace("  <peer_allowed>", identity + "<peer_allowed>"))
    imported(folder, tmp_path)
    table = tomllib.loads((tmp_path / "hipgw.toml").read_text())
    table["identity"]["key_file_v1"] = "A-1024.pem"
    table["mobility"]["interfaces"] = ["eth7"]
    del table["mobility"]["preferred_interfaces"]
    table["mobility"]["ignored_addresses"] = ["192.0.2.0/24"]
    table["endbox"] |= {
        "multicast_spi": 0x1000,
        "multicast_spi_swapped": False,
        "multicast_group": "239.1.1.1",
        "default_endbox": True,
        "allowed_pairs": [["self", "E2-1024"], ["2001:11::1", "E2-1024"]],
    }
    (tmp_path / "hipgw.toml").write_text(tomli_w.dumps(table))
    back = exported(load(tmp_path / "hipgw.toml"))
    assert back.conf.preferred_hi == "A-1024"
    assert back.conf.master_interface == "eth7"
    assert back.conf.master_interface2 == ""
    assert "master_interface2" not in back.conf.given
    assert "preferred_interface" not in back.conf.given
    assert back.conf.ignored_addr == IPv4Address("192.0.2.0")
    assert back.conf.multicast_spi.hex() == "00100000"
    assert str(back.conf.multicast_group) == "239.1.1.1"
    own = next(host for host in back.mine.hosts if host.name == "A-1024")
    shown = next(host for host in back.known.hosts if host.hit == own.hit)
    assert shown.legacy_nodes == (IPv4Address("192.168.50.1"), IPv4Address("0.0.0.0"))
    other = next(host.hit for host in back.known.hosts if host.name == "E2-1024")
    assert back.known.allowed == ((own.hit, other), (IPv6Address("2001:11::1"), other))


def test_an_endbox_that_was_never_imported(tmp_path: Path) -> None:
    key = LocalIdentity.generate("rsa2048")
    (tmp_path / "host.pem").write_bytes(key.to_pem())
    (tmp_path / "host.pem").chmod(0o600)
    (tmp_path / "hipgw.toml").write_text(
        '[identity]\nkey_file = "host.pem"\n[endbox]\nmode = "static"\n'
        'legacy_nodes = ["192.168.1.1"]\n'
        '[[peer]]\nname = "b"\nhit = "2001:11::1"\nlegacy_nodes = ["192.168.1.2"]\n'
    )
    back = exported(load(tmp_path / "hipgw.toml"))
    assert back.conf.cfg_library.endswith("libhipcfgfiles.so")
    own = key.in_version(1).hit
    assert {host.hit: host.legacy_nodes for host in back.known.hosts} == {
        own: (IPv4Address("192.168.1.1"),),
        IPv6Address("2001:11::1"): (IPv4Address("192.168.1.2"),),
    }
    assert back.known.allowed == ((own, IPv6Address("2001:11::1")),)


def test_odd_names_addresses_and_lsis_survive(tmp_path: Path) -> None:
    folder = installation(tmp_path / "hip", "opp.A")
    hosts = [
        (
            "<name>a b</name><HIT>2001:11::1</HIT><LSI>5.0.0.1</LSI><addr>224.0.0.1</addr>"
            "<addr>fe80::1</addr>"
        ),
        "<name>a-b</name><HIT>2001:11::2</HIT><LSI>1.0.0.2</LSI><addr>1.2.3.4</addr>",
        "<name>192.0.2.1</name><HIT>2001:11::3</HIT><LSI>1.0.0.2</LSI>",
        "<name>self</name><HIT>2001:11::6</HIT>",
        "<name></name><HIT>2001:11::4</HIT><addr>192.0.2.9</addr><RVS>192.0.2.9</RVS>",
        f"<name>{'é' * 100}</name><HIT>2001:11::5</HIT>"
        + "".join(f"<addr>192.0.2.{n}</addr>" for n in range(1, 30)),
    ]
    identities = "".join(
        '<host_identity alg_id="5" length="64" anon="yes" incoming="no" r1count="3" addrcheck="no">'
        f"{host}</host_identity>"
        for host in hosts
    )
    known_file = folder / KNOWN
    known_file.write_text(f"<known_host_identities>{identities}</known_host_identities>")
    result, config = imported(folder, tmp_path)
    assert len({peer.name for peer in config.peers}) == len(hosts)
    assert "self" not in [peer.name for peer in config.peers]
    known, back = read_known_hosts(known_file), exported(config).known
    # The unusable addresses stand behind the others; nothing else may differ.
    for before, after in zip(known.hosts, back.hosts, strict=True):
        assert set(before.addresses) == set(after.addresses)
        assert replace(before, addresses=()) == replace(after, addresses=())
    what = " ".join(note.what for note in result.notes)
    assert "fe80::1" in what
    assert "1.2.3.4" in what
    assert "weak_keys" in what
    assert "another host" in what


def test_an_imported_folder_is_not_overwritten(tmp_path: Path) -> None:
    folder = installation(tmp_path / "hip", "v4-raw.A")
    imported(folder, tmp_path)
    before = (tmp_path / "host.pem").read_bytes()
    with pytest.raises(ConfigError, match="exists already") as caught:
        imported(folder, tmp_path)
    assert "--force" in caught.value.hint
    directory.import_directory(folder, tmp_path, force=True)
    # The identity of this machine in version 2 stays what it is.
    assert (tmp_path / "host.pem").read_bytes() == before


def test_another_key_of_the_same_name_is_not_replaced(tmp_path: Path) -> None:
    imported(installation(tmp_path / "hip", "v4-raw.A"), tmp_path)
    folder = installation(tmp_path / "hip", "v6-raw.A")
    with pytest.raises(ConfigError, match="another key"):
        directory.import_directory(folder, tmp_path, force=True)


def test_private_keys_are_exported_only_if_asked_for(tmp_path: Path) -> None:
    imported(installation(tmp_path / "hip", "vpls-raw.E1", HERE / "full-hip.conf"), tmp_path)
    public = tmp_path / "public"
    written = directory.export_directory(tmp_path / "hipgw.toml", public)
    assert {file.name for file in written} == {
        KNOWN,
        "hip.conf",
        "E1-1024_host_identities.pub.xml",
    }
    text = "".join(file.read_text() for file in written)
    for tag in ("<N>", "<D>", "<P>", "<PRIV>", "multicast_key"):
        assert tag not in text
    private = tmp_path / "private"
    written = directory.export_directory(tmp_path / "hipgw.toml", private, private=True)
    assert stat.S_IMODE((private / "my_host_identities.xml").stat().st_mode) == 0o600
    assert stat.S_IMODE((private / "hip.conf").stat().st_mode) == 0o600
    assert "multicast_key" in (private / "hip.conf").read_text()


def test_a_configuration_that_was_never_imported(tmp_path: Path) -> None:
    key = LocalIdentity.generate("rsa2048")
    (tmp_path / "host.pem").write_bytes(key.to_pem())
    (tmp_path / "host.pem").chmod(0o600)
    (tmp_path / "hipgw.toml").write_text(
        '[identity]\nkey_file = "host.pem"\n[host]\n'
        '[[peer]]\nname = "old"\nhit = "2001:11::1"\naddresses = ["192.0.2.7"]\n'
        '[[peer]]\nname = "both"\nhit = "2001:21::1"\nhit_v1 = "2001:11::2"\n'
        '[[peer]]\nname = "new"\nhit = "2001:21::2"\n'
    )
    directory.export_directory(
        tmp_path / "hipgw.toml", tmp_path / "out", name="plant-a", addresses=("192.0.2.1",)
    )
    (me,) = read_known_hosts(tmp_path / "out" / "plant-a_host_identities.pub.xml").hosts
    assert me.hit == key.in_version(1).hit
    assert me.length == 256
    assert me.addresses == (IPv4Address("192.0.2.1"),)
    known = read_known_hosts(tmp_path / "out" / KNOWN)
    assert [host.name for host in known.hosts] == ["old", "both"]


@pytest.mark.parametrize(
    ("my", "what"),
    [
        ("<my_host_identities></my_host_identities>", "has no <host_identity>"),
        ("<known_host_identities/>", "not <my_host_identities>"),
        (
            '<my_host_identities><host_identity alg_id="5"><HIT>2001:11::1</HIT></host_identity>'
            "</my_host_identities>",
            "has no key",
        ),
    ],
)
def test_unusable_identities_are_named(tmp_path: Path, my: str, what: str) -> None:
    (tmp_path / "my_host_identities.xml").write_text(my)
    with pytest.raises(ConfigError, match="my_host_identities") as caught:
        directory.import_directory(tmp_path, tmp_path / "out")
    assert what in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_preferred_identity_that_is_not_there(tmp_path: Path) -> None:
    folder = installation(tmp_path / "hip", "v4-raw.A")
    (folder / "hip.conf").write_text(
        "<hip_configuration><preferred_hi>x</preferred_hi></hip_configuration>"
    )
    with pytest.raises(ConfigError, match="'x', which hip"):
        directory.import_directory(folder, tmp_path / "out")


def test_a_dht_server_goes_both_ways(tmp_path: Path) -> None:
    folder = installation(tmp_path / "hip", "v4-raw.A", HERE / "full-hip.conf")
    _, config = imported(folder, tmp_path)
    for servers, address, port in (
        (["198.51.100.7:5900"], "198.51.100.7", 5900),
        (["198.51.100.7"], "198.51.100.7", 5851),
        (["2001:db8::7", "198.51.100.7"], "2001:db8::7", 5851),
    ):
        dht = DhtConfig.model_validate({"servers": servers})
        back = exported(config.model_copy(update={"dht": dht})).conf
        assert (str(back.dht_server), back.dht_server_port) == (address, port)
    back = exported(config.model_copy(update={"dht": None})).conf
    assert back.dht_server is None


@pytest.mark.parametrize(
    ("given", "intercept", "servers"),
    [
        ("", None, []),
        ("<disable_dns_thread>no</disable_dns_thread>", True, []),
        ("<disable_dns_thread>yes</disable_dns_thread>", False, []),
        ("<dns_server>192.0.2.53</dns_server>", False, ["192.0.2.53:53"]),
        (
            "<disable_dns_thread>no</disable_dns_thread><dns_server>2001:db8::53</dns_server>",
            True,
            ["[2001:db8::53]:53"],
        ),
    ],
)
def test_names_are_answered_where_openhip_answers_them(
    tmp_path: Path, given: str, intercept: bool | None, servers: list[str]
) -> None:
    conf = tmp_path / "some-hip.conf"
    conf.write_text(f"<hip_configuration>{given}</hip_configuration>")
    _, config = imported(installation(tmp_path / "hip", "v4-raw.A", conf), tmp_path)
    if intercept is None:
        assert config.dns is None
    else:
        assert config.dns is not None
        assert config.dns.intercept is intercept
        assert [str(server) for server in config.dns.servers] == servers
    back = exported(config).conf
    assert back.disable_dns_thread is not bool(intercept)
    assert str(back.dns_server or "") in (servers or [""])[0]


def test_looking_up_no_names_stays_so(tmp_path: Path) -> None:
    conf = tmp_path / "some-hip.conf"
    text = "<hip_configuration><disable_dns_lookups>yes</disable_dns_lookups></hip_configuration>"
    conf.write_text(text)
    _, config = imported(installation(tmp_path / "hip", "v4-raw.A", conf), tmp_path)
    assert "dns" not in [source.value for source in config.naming.order]
    assert exported(config).conf.disable_dns_lookups
    table = tomllib.loads((tmp_path / "hipgw.toml").read_text())
    del table["naming"]
    table["dns"] = {}
    (tmp_path / "hipgw.toml").write_text(tomli_w.dumps(table))
    changed = exported(load(tmp_path / "hipgw.toml")).conf
    assert not changed.disable_dns_lookups
    assert not changed.disable_dns_thread
