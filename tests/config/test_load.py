"""Good configurations: defaults, paths, and what they come to."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hipgw.config.load import InvalidConfigError, load, load_identity
from hipgw.config.names import (
    Announce,
    DhGroupName,
    EspSuiteName,
    HipCipherName,
    HipVersionName,
    V1DhGroupName,
    V1SuiteName,
)
from hipgw.config.reference import EXAMPLE
from hipgw.config.schema import Config
from hipgw.config.schema import MobileRouterConfig as MobileRouterTable
from hipgw.errors import ConfigError, IdentityError
from hipgw.identity.ciphers import HIP_CIPHERS
from hipgw.identity.dh import DhGroup
from hipgw.identity.esp_suites import DEFAULT_ESP_SUITES, ESP_SUITES
from hipgw.identity.hip_suites import HIP_SUITES
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keyfile import save_key_file
from hipgw.platform.source_routes import SourceRouteSettings
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.mobile_router.config import MobileRouterConfig
from hipgw.protocol.path import Transport

FULL = """\
[identity]
key_file = "keys/host.pem"
key_file_v1 = "host.pem"
[hip]
port = 10500
transport = "raw"
versions = ["v2", "v1"]
opportunistic = true
accept = "any"
dh_groups = ["P-521"]
hip_ciphers = ["NULL"]
esp_suites = ["NULL-SHA256", "AES-128-CCM-8"]
puzzle_difficulty = 0
puzzle_difficulty_max = 0
retransmit_s = 1
retries = 3
idle_close_s = 60
keepalive_s = 20
[hip.v1]
hip_suites = ["3DES-SHA1", "AES-128-CBC-SHA1"]
esp_suites = ["NULL-MD5", "BLOWFISH-SHA1"]
dh_groups = ["MODP-384", "MODP-8192"]
compat = "none"
weak_keys = true
[esp]
backend = "engine"
replay_window = 64
path_mtu = 1400
busy_poll_us = 50
realtime = false
path_mtu_discovery = false
copy_dscp = false
ecn = false
rekey_s = 600
rekey_bytes = 1000000000
rekey_packets = 0
rekey_dh = false
[mobility]
enabled = true
announce = "current"
interfaces = ["eth*", "wwan*"]
ignored_interfaces = ["eth7"]
preferred_interfaces = ["eth[01]", "wwan0"]
ignored_addresses = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]
source_routes = false
route_table = 20000
[[peer]]
name = "plant-b"
hit = "2001:22:5c2a:9d1e:47b0:9e6c:1f2d:3a4b"
hit_v1 = "2001:10:5c2a:9d1e:47b0:9e6c:1f2d:3a4b"
versions = ["v1"]
compat = "openhip"
addresses = ["192.0.2.2", "2001:db8::2"]
transport = "udp"
port = 4500
relays = ["relay"]
rvs = ["home", "192.0.2.10", "2001:db8::10"]
lsi = "1.0.0.7"
legacy_nodes = ["192.168.1.2", "192.168.1.3"]
default_endbox = false
[[peer]]
name = "plant-c"
hit = "2001:21::1"
[[peer]]
name = "relay"
hit = "2001:21::2"
addresses = ["192.0.2.9"]
transport = "udp"
[[peer]]
name = "home"
hit = "2001:21::3"
addresses = ["192.0.2.11"]
[rendezvous]
servers = ["home"]
lifetime_s = 60
automatic = false
[naming]
order = ["dns", "configured"]
timeout_s = 2
ttl_min_s = 1
ttl_max_s = 600
negative_ttl_s = 10
cache_max = 100
found_max = 50
keep_s = 60
unknown = false
[dns]
intercept = true
suffix = "Hosts.Example."
listen = "127.0.0.9"
port = 5353
resolver = "off"
servers = ["192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"]
search = ["example.com"]
dnssec = "require"
ttl_s = 10
cache_max = 0
[nat]
modes = ["ICE-HIP-UDP", "ICE-STUN-UDP"]
relays = ["relay"]
services = ["control"]
lifetime_s = 60
pacing_s = 0.02
stun_servers = ["192.0.2.9", "[2001:db8::1]:3479"]
[relay]
services = ["data"]
clients = ["relay"]
min_lifetime_s = 20
max_lifetime_s = 300
clients_max = 5
addresses = ["192.0.2.1", "2001:db8::1"]
first_port = 40000
ports = 10
ports_per_client = 1
permissions_per_client = 8
bytes_per_s = 1000000
packets_per_source = 10
packets_per_client = 100
[dht]
servers = ["192.0.2.9", "[2001:db8::9]:5852"]
publish = false
name = "Plant-A.example"
ttl_s = 600
private_addresses = true
gateway = ["0.0.0.0", "[::]:5853"]
clients = ["10.0.0.0/8"]
store = "opendht"
proxies = ["127.0.0.1:8001"]
records_max = 1000
puts_per_source = 5
puts_total = 50
unsequenced = "any"
[rvs]
clients = ["plant-b"]
min_lifetime_s = 20
max_lifetime_s = 300
clients_max = 200000
packets_per_source = 10
packets_per_client = 100
[mobile_router]
external_interfaces = ["wwan*", "eth0"]
clients = ["plant-b"]
min_lifetime_s = 20
max_lifetime_s = 300
clients_max = 10
correspondents_per_client = 100
flows_max = 500
carrier_outside = "udp"
tickets = false
path = "nfqueue"
queue = 77
[mobile_node]
routers = ["home"]
lifetime_s = 60
check_s = 0
automatic = false
[host]
interface = "hip7"
lsi = "1.0.0.1"
mtu = 1400
[endbox]
interface = "tap7"
bridge = "br7"
ports = ["eth1", "eth2.100"]
peers = ["plant-b"]
mss_clamp = false
mtu = 9000
mac_limit = 1000
mac_age_s = 60.5
mode = "static"
legacy_nodes = ["192.168.1.1", "192.168.1.10"]
default_endbox = true
source_filter = false
allowed_pairs = [["self", "plant-b"], ["2001:22::5", "2001:0021::1"]]
hello_s = 10
election = "multicast"
heartbeat_s = 5
heartbeat_dir = "beats"
multicast_group = "239.7.7.7"
multicast_spi = 4660
multicast_spi_swapped = true
multicast_key = "group.key"
[openhip]
multicast_key = "host.pem"
[openhip.conf]
loc_lifetime = "1800"
hip_sa = ["1", "2"]
[[openhip.host]]
hit = "2001:10:5c2a:9d1e:47b0:9e6c:1f2d:3a4b"
name = "plant b"
key_file = "host.pem"
listed = false
algorithm = 3
length = 64
anonymous = true
incoming = false
check_address = false
r1_count = 18446744073709551615
lsi = "5.0.0.1"
addresses = ["127.0.0.1"]
rendezvous = ["192.0.2.8", "::1"]
[fleet]
name = "plants"
operator_keys = ["ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]
file = "fleet.toml"
etcd = ["https://192.0.2.1:2379", "http://etcd.example.org:2379/"]
etcd_prefix = "/plants/"
etcd_ca = "host.pem"
etcd_certificate = "host.pem"
etcd_key = "host.pem"
etcd_user = "hipgw"
etcd_password = "host.pem"
lan = "plant"
state_dir = "fleet"
[daemon]
user = "root"
state_dir = "state"
control_socket = "/run/x.sock"
control_group = "root"
log_format = "json"
log_level = "debug"
"""


def write(folder: Path, text: str) -> Path:
    for name in ("host.pem", "keys/host.pem"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("a key")
    file = folder / "hipgw.toml"
    file.write_text(text)
    return file


def test_every_key_can_be_set(tmp_path: Path) -> None:
    config = load(write(tmp_path, FULL))
    assert config.identity.key_file == tmp_path / "keys/host.pem"
    assert config.identity.key_file_v1 == tmp_path / "host.pem"
    assert config.hip.transport is Transport.RAW
    assert [suite.wire_id for suite in config.hip.v1.hip_suites] == [2, 1]
    assert [suite.wire_id for suite in config.hip.v1.esp_suites] == [6, 4]
    assert [group.wire_id for group in config.hip.v1.dh_groups] == [1, 6]
    assert [group.wire_id for group in config.hip.dh_groups] == [9]
    assert [suite.wire_id for suite in config.hip.esp_suites] == [7, 10]
    assert config.hip.retransmit_s == 1.0
    assert config.mobility.ignored_addresses == (
        IPv4Network("10.0.0.0/8"),
        IPv6Network("2001:db8::/32"),
        IPv4Network("192.0.2.7/32"),
    )
    assert [str(server) for server in config.nat.stun_servers] == [
        "192.0.2.9:3478",
        "[2001:db8::1]:3479",
    ]
    assert config.dht is not None
    assert [str(server) for server in config.dht.asked] == ["192.0.2.9:5851", "[2001:db8::9]:5852"]
    assert [str(one) for one in config.dht.gateway] == ["0.0.0.0:5851", "[::]:5853"]
    assert config.fleet is not None
    assert config.fleet.etcd == ("https://192.0.2.1:2379", "http://etcd.example.org:2379")
    assert config.fleet.state_dir == tmp_path / "fleet"
    assert config.daemon.state_dir == tmp_path / "state"
    assert config.daemon.control_socket == Path("/run/x.sock")
    plant_b, plant_c, relay, home = config.peers
    assert plant_b.hit == IPv6Address("2001:22:5c2a:9d1e:47b0:9e6c:1f2d:3a4b")
    assert plant_b.addresses == (IPv4Address("192.0.2.2"), IPv6Address("2001:db8::2"))
    assert plant_b.lsi == IPv4Address("1.0.0.7")
    assert config.transport_of(plant_b) is Transport.UDP
    assert config.relays_of(plant_b) == (relay,)
    assert config.nat.relays == (relay.name,)
    assert config.rendezvous.servers == (home.name,)
    assert config.rendezvous_of(plant_b) == (
        (home.addresses, 10500, "home"),
        ((IPv4Address("192.0.2.10"),), 10500, ""),
        ((IPv6Address("2001:db8::10"),), 10500, ""),
    )
    assert config.relay is not None
    assert config.relay.port_range == range(40000, 40010)
    assert config.transport_of(plant_c) is Transport.RAW
    assert config.roles == ("host", "endbox", "relay", "rvs", "mobile_router")
    assert config.endbox_peers == (plant_b,)
    assert plant_b.nodes == (IPv4Address("192.168.1.2"), IPv4Address("192.168.1.3"))
    endbox = config.endbox
    assert endbox is not None
    assert endbox.allowed_pairs == (("self", "plant-b"), ("2001:22::5", "2001:21::1"))
    assert endbox.is_default_endbox
    assert endbox.wire_multicast_spi == 0x34120000
    assert endbox.heartbeat_dir == tmp_path / "beats"
    assert endbox.multicast_key == tmp_path / "group.key"
    assert config.dns is not None
    assert config.dns.suffix == "hosts.example"
    assert [str(server) for server in config.dns.servers] == [
        *("192.0.2.53:53", "192.0.2.53:5353", "[2001:db8::53]:53", "[2001:db8::53]:5353"),
    ]
    # No key of the schema is forgotten above: all were given, none has its default.
    for name in Config.model_fields:
        table = getattr(config, name)
        for model in table[:1] if isinstance(table, tuple) else [table]:
            assert model.model_fields_set == set(type(model).model_fields), name
    assert config.openhip is not None
    assert config.openhip.model_fields_set == set(type(config.openhip).model_fields)
    (host,) = config.openhip.host
    assert host.model_fields_set == set(type(host).model_fields)
    assert config.hip.v1.model_fields_set == set(type(config.hip.v1).model_fields)


def test_the_default_endbox_is_that_with_0_0_0_0(tmp_path: Path) -> None:
    text = """\
[identity]
key_file = "host.pem"
[[peer]]
name = "router"
hit = "2001:21::1"
legacy_nodes = ["0.0.0.0", "10.0.0.7"]
[endbox]
"""
    config = load(write(tmp_path, text))
    (router,) = config.peers
    assert router.is_default_endbox
    assert router.nodes == (IPv4Address("10.0.0.7"),)
    assert config.endbox is not None
    assert not config.endbox.is_default_endbox


def test_everything_but_identity_and_a_role_has_a_default(tmp_path: Path) -> None:
    config = load(write(tmp_path, '[identity]\nkey_file = "host.pem"\n[host]\n'))
    assert config.roles == ("host",)
    assert config.peers == ()
    assert config.endbox_peers == ()
    assert config.hip.port == 10500
    assert config.daemon.user == "nobody"


def test_defaults_are_those_of_the_machine(tmp_path: Path) -> None:
    config = load(write(tmp_path, '[identity]\nkey_file = "host.pem"\n[host]\n'))
    hip, esp = config.hip, config.esp
    machine = MachineConfig()
    assert tuple(group.wire_id for group in hip.dh_groups) == machine.dh_groups
    assert tuple(cipher.wire_id for cipher in hip.hip_ciphers) == machine.hip_ciphers
    assert tuple(suite.wire_id for suite in hip.esp_suites) == DEFAULT_ESP_SUITES
    assert hip.puzzle_difficulty == machine.puzzle_difficulty
    assert hip.puzzle_difficulty_max == machine.puzzle_difficulty_max
    assert hip.retransmit_s == machine.retransmit_s
    assert hip.retries == machine.retries
    assert hip.idle_close_s == machine.ual_s
    assert hip.opportunistic == machine.opportunistic
    assert hip.keepalive_s == machine.keepalive_s
    assert esp.rekey_s == machine.rekey_s
    assert esp.rekey_bytes == machine.rekey_octets
    assert esp.rekey_packets == machine.rekey_packets
    assert esp.rekey_dh == machine.rekey_dh
    assert config.mobile_node.check_s == machine.router_check_s
    table, router = MobileRouterTable(), MobileRouterConfig()
    assert table.correspondents_per_client == router.flows_per_client
    assert table.tickets == router.tickets
    assert router.outside is None
    assert (config.mobility.announce is Announce.ALL) == machine.announce_all
    assert config.mobility.route_table == SourceRouteSettings().first_table


def test_names_and_numbers_are_those_of_identity() -> None:
    groups = {group.label: group.value for group in DhGroup}
    v2_groups = {str(name): name.wire_id for name in DhGroupName}
    v1_groups = {str(name): name.wire_id for name in V1DhGroupName}
    assert v2_groups | v1_groups == groups
    assert set(v2_groups) & set(v1_groups) == {"MODP-1536", "MODP-3072"}
    assert {name.wire_id: str(name) for name in V1SuiteName} == {
        suite.id: suite.name for suite in HIP_SUITES.values()
    }
    assert {name.wire_id: str(name) for name in EspSuiteName} == {
        suite.id: suite.name for suite in ESP_SUITES.values()
    }
    assert {name.wire_id: str(name) for name in HipCipherName} == {
        cipher.id: cipher.name for cipher in HIP_CIPHERS.values()
    }


V2, V1 = HipVersionName.V2, HipVersionName.V1
HIT = 'hit = "2001:21::1"\n'
HIT_V1 = 'hit = "2001:11::1"\n'
BOTH_HITS = HIT + 'hit_v1 = "2001:11::1"\n'


@pytest.mark.parametrize(
    ("hip", "peer", "versions"),
    [
        ("", HIT, (V2,)),
        ("", HIT_V1, (V1,)),
        ("", BOTH_HITS, (V2,)),
        ('versions = ["v2", "v1"]', BOTH_HITS, (V2, V1)),
        ('versions = ["v1", "v2"]', BOTH_HITS, (V1, V2)),
        ('versions = ["v2", "v1"]', HIT, (V2,)),
        ('versions = ["v1"]', HIT, (V2,)),
        ('versions = ["v1"]', BOTH_HITS, (V1,)),
        ("", BOTH_HITS + 'versions = ["v1"]', (V1,)),
        ("", BOTH_HITS + 'versions = ["v2", "v1"]', (V2, V1)),
    ],
)
def test_the_hit_tells_the_version_and_the_policy_chooses(
    tmp_path: Path, hip: str, peer: str, versions: tuple[HipVersionName, ...]
) -> None:
    text = f'[identity]\nkey_file = "host.pem"\n[host]\n[hip]\n{hip}\n[[peer]]\nname="b"\n{peer}'
    config = load(write(tmp_path, text))
    assert config.versions_of(config.peers[0]) == versions
    assert config.speaks_v1 == (V1 in versions or V1 in config.hip.versions)


@pytest.mark.parametrize(
    ("hip", "peer", "compat"),
    [
        ("", BOTH_HITS, {V2: "none", V1: "openhip"}),
        ('v1.compat = "none"', BOTH_HITS, {V2: "none", V1: "none"}),
        ("", BOTH_HITS + 'compat = "none"', {V2: "none", V1: "none"}),
        ("", BOTH_HITS + 'compat = "hip-vpls"', {V2: "hip-vpls", V1: "openhip"}),
        ('v1.compat = "none"', BOTH_HITS + 'compat = "openhip"', {V2: "none", V1: "openhip"}),
    ],
)
def test_a_profile_is_of_one_version(
    tmp_path: Path, hip: str, peer: str, compat: dict[HipVersionName, str]
) -> None:
    text = f'[identity]\nkey_file = "host.pem"\n[host]\n[hip]\n{hip}\n[[peer]]\nname="b"\n{peer}'
    config = load(write(tmp_path, text))
    assert {version: config.compat_of(config.peers[0], version) for version in (V2, V1)} == compat


def test_endbox_without_peers_shares_with_all(tmp_path: Path) -> None:
    config = load(write(tmp_path, EXAMPLE))
    assert [peer.name for peer in config.endbox_peers] == ["plant-b"]


def test_a_fleet_in_a_file_stands_for_peers(tmp_path: Path) -> None:
    key = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    text = '[identity]\nkey_file = "host.pem"\n[endbox]\n[relay]\nclients = ["plant-b"]\n[fleet]\n'
    config = load(write(tmp_path, text + f'file = "fleet.toml"\noperator_keys = ["{key}"]\n'))
    assert config.fleet is not None
    assert config.fleet.file == tmp_path / "fleet.toml"
    assert config.fleet.state_dir == Path("/var/lib/hipgw/fleet")
    assert config.endbox_peers == ()


def test_whom_a_machine_registers_with_may_be_in_the_fleet(tmp_path: Path) -> None:
    key = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    text = """[identity]
key_file = "host.pem"
[host]
[nat]
relays = ["hub"]
[rendezvous]
servers = ["rvs"]
[mobile_node]
routers = ["bus"]
"""
    fleet = f'[fleet]\nfile = "fleet.toml"\noperator_keys = ["{key}"]\n'
    config = load(write(tmp_path, text + fleet))
    assert (config.nat.relays, config.rendezvous.servers) == (("hub",), ("rvs",))
    with pytest.raises(ConfigError) as raised:
        load(write(tmp_path, text))
    for name in ("hub", "rvs", "bus"):
        assert f"no [[peer]] is named '{name}'" in str(raised.value)


def test_relative_file_name_gives_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, EXAMPLE)
    monkeypatch.chdir(tmp_path)
    assert load("hipgw.toml").identity.key_file == tmp_path / "host.pem"


def test_config_cannot_be_changed(tmp_path: Path) -> None:
    config = load(write(tmp_path, EXAMPLE))
    with pytest.raises(ValidationError, match="frozen"):
        config.hip.port = 1  # type: ignore[misc]


def test_identity_is_read_from_the_key_file(tmp_path: Path) -> None:
    file = write(tmp_path, EXAMPLE)
    identity = LocalIdentity.generate("ecdsa-p256")
    save_key_file(tmp_path / "host.pem", identity, overwrite=True)
    assert load_identity(load(file), file).hit == identity.hit


def test_bad_key_file_is_an_identity_error(tmp_path: Path) -> None:
    file = write(tmp_path, EXAMPLE)
    (tmp_path / "host.pem").chmod(0o600)
    with pytest.raises(IdentityError, match=r"host\.pem"):
        load_identity(load(file), file)


def test_peer_with_the_own_hit_is_refused(tmp_path: Path) -> None:
    identity = LocalIdentity.generate("ed25519")
    file = write(
        tmp_path, EXAMPLE.replace("2001:22:5c2a:9d1e:47b0:9e6c:1f2d:3a4b", str(identity.hit))
    )
    save_key_file(tmp_path / "host.pem", identity, overwrite=True)
    with pytest.raises(InvalidConfigError, match=r"peer\[0\]\.hit: .* of this machine itself"):
        load_identity(load(file), file)


def test_thousands_of_peers_load_quickly(tmp_path: Path) -> None:
    peers = "".join(
        f'[[peer]]\nname = "p{n}"\nhit = "2001:21::{n:x}"\naddresses = ["192.0.2.1"]\n'
        for n in range(1, 3001)
    )
    config = load(write(tmp_path, f'[identity]\nkey_file = "host.pem"\n[endbox]\n{peers}'))
    assert len(config.endbox_peers) == 3000


toml_values = st.recursive(
    st.one_of(
        st.booleans().map(lambda value: str(value).lower()),
        st.integers(-(2**70), 2**70).map(str),
        st.sampled_from(["nan", "inf", "-0.0", "1e400", "1979-05-27", "07:32:00", '""', '"x"']),
        st.ip_addresses().map(lambda address: f'"{address}"'),
        st.from_regex(r"[ -!#-\[\]-~]{0,20}", fullmatch=True).map(lambda text: f'"{text}"'),
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=4,
)
keys = st.sampled_from(
    sorted(
        {
            f"{table}.{key}"
            for table, model in (
                ("hip", Config.model_fields["hip"].annotation),
                ("esp", Config.model_fields["esp"].annotation),
                ("daemon", Config.model_fields["daemon"].annotation),
            )
            for key in getattr(model, "model_fields", {})
        }
        | {"host.lsi", "host.mtu", "endbox.peers", "endbox.ports", "peer", "host", "x", "hip"}
    )
)


@settings(max_examples=300, deadline=None)
@given(lines=st.dictionaries(keys, toml_values, max_size=6), garbage=st.text(max_size=20))
def test_no_file_does_worse_than_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, lines: dict[str, str], garbage: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    (file.parent / "host.pem").touch()
    text = "\n".join(f"{key} = {value}" for key, value in lines.items())
    for tail in ("", garbage):
        file.write_text(f'identity.key_file = "host.pem"\n{text}\n{tail}', errors="replace")
        try:
            config = load(file)
        except ConfigError as error:
            assert str(error).startswith(str(file))
        else:
            assert config.roles


def test_a_relay_gets_no_frames_unless_it_is_listed(tmp_path: Path) -> None:
    peers = "".join(
        f'[[peer]]\nname = "{name}"\nhit = "2001:21::{number}"\naddresses = ["192.0.2.{number}"]\n'
        f"{more}"
        for number, (name, more) in enumerate(
            [("b", ""), ("c", 'relays = ["r2"]\n'), ("r1", ""), ("r2", "")], 1
        )
    )
    text = '[identity]\nkey_file = "host.pem"\n[nat]\nrelays = ["r1"]\n' + peers
    config = load(write(tmp_path, text + "[endbox]\n"))
    assert [peer.name for peer in config.endbox_peers] == ["b", "c"]
    config = load(write(tmp_path, text + '[endbox]\npeers = ["b", "r1"]\n'))
    assert [peer.name for peer in config.endbox_peers] == ["b", "r1"]
