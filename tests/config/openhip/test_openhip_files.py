"""OpenHIP's three files: what is read, what is refused, what is written."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from hipgw.config.openhip.conf import HipConf, conf_of, emit_conf, read_conf, tags
from hipgw.config.openhip.hosts import (
    KNOWN_HOSTS,
    MY_HOSTS,
    Host,
    Hosts,
    emit_known_hosts,
    emit_my_hosts,
    hosts_of,
    read_known_hosts,
    read_my_hosts,
)
from hipgw.config.openhip.keys import Algorithm, KeyNumbers
from hipgw.config.openhip.values import Place
from hipgw.config.openhip.xml import OpenHipFileError, parse
from hipgw.identity.lsi import default_lsi

HERE = Path(__file__).parent
SAMPLES = HERE.parents[1] / "vectors" / "openhip"
MY_FILES = sorted(SAMPLES.glob("*.my.xml"))
KNOWN_FILES = sorted(SAMPLES.glob("*.known.xml"))
PREFIX = IPv4Address("1.0.0.0")
PLACE = Place(Path("x.xml"), 7, "key")
HIT = "2001:10:f684:896d:5ebd:fd0:25ce:2f6e"


def known(text: str) -> Hosts:
    return hosts_of(
        parse(f"<{KNOWN_HOSTS}>{text}</{KNOWN_HOSTS}>".encode(), "k.xml", KNOWN_HOSTS),
        Path("k.xml"),
    )


def conf(text: str) -> HipConf:
    root = parse(
        f"<hip_configuration>\n{text}</hip_configuration>".encode(), "c", "hip_configuration"
    )
    return conf_of(root, Path("hip.conf"))


def test_there_are_samples() -> None:
    assert len(MY_FILES) == 76
    assert len(KNOWN_FILES) == 75


@pytest.mark.parametrize("file", MY_FILES, ids=lambda file: file.name)
def test_every_own_identity_is_read_and_written(file: Path) -> None:
    mine = read_my_hosts(file)
    assert mine.hosts
    assert not mine.ignored
    for host in mine.hosts:
        assert host.key is not None
        key = host.key.private_key(PLACE)
        assert KeyNumbers.of(key).public_only() == host.key.public_only()
        assert key.key_size == host.length * 8
        assert host.lsi == host.default_lsi(PREFIX) == default_lsi(host.hit)
    again = hosts_of(parse(emit_my_hosts(mine), file, MY_HOSTS), file)
    assert again == mine


@pytest.mark.parametrize("file", KNOWN_FILES, ids=lambda file: file.name)
def test_every_file_of_known_hosts_is_read_and_written(file: Path) -> None:
    hosts = read_known_hosts(file)
    assert not hosts.ignored
    assert all(host.key is None for host in hosts.hosts)
    assert hosts_of(parse(emit_known_hosts(hosts), file, KNOWN_HOSTS), file) == hosts
    for host in hosts.hosts:
        assert host.lsi == default_lsi(host.hit)
    if file.name.startswith("vpls"):
        assert hosts.is_endbox
        assert hosts.allowed
        assert all(host.legacy_nodes for host in hosts.hosts)


def test_both_algorithms_and_lengths_are_among_the_samples() -> None:
    found = {
        (host.algorithm, host.length) for file in MY_FILES for host in read_my_hosts(file).hosts
    }
    assert {(5, 64), (5, 128), (5, 256), (3, 128)} <= found


def test_everything_of_a_host_is_read() -> None:
    (host,) = known(
        f'<host_identity alg="DSA" alg_id="3" length="64" anon="yes" incoming="no" addrcheck="no" '
        f'r1count="18446744073709551615"><name>Grüße &amp; co</name><HIT>{HIT}</HIT>'
        "<LSI>1.2.3.4</LSI><addr>192.0.2.1</addr><addr>2001:db8::1</addr><addr>192.0.2.1</addr>"
        "<RVS>192.0.2.9</RVS><legacyNodesIp>0.0.0.0</legacyNodesIp></host_identity>"
    ).hosts
    assert host == Host(
        name="Grüße & co",
        hit=IPv6Address(HIT),
        algorithm=Algorithm.DSA,
        length=64,
        anonymous=True,
        incoming=False,
        check_address=False,
        r1_count=2**64 - 1,
        lsi=IPv4Address("1.2.3.4"),
        addresses=(IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")),
        rendezvous=(IPv4Address("192.0.2.9"),),
        legacy_nodes=(IPv4Address("0.0.0.0"),),
    )


def test_defaults_are_openhips() -> None:
    (host,) = known(f"<host_identity><HIT>{HIT}</HIT></host_identity>").hosts
    assert host == Host(name="", hit=IPv6Address(HIT), algorithm=0)
    assert host.incoming
    assert host.check_address
    assert host.default_lsi(PREFIX) == IPv4Address("1.206.47.110")


@pytest.mark.parametrize(
    "text", ["20010010f684896d5ebd0fd025ce2f6e", "0x20010010F684896D5EBD0FD025CE2F6E"]
)
def test_a_hit_may_be_hexadecimal(text: str) -> None:
    (host,) = known(f"<host_identity><HIT>{text}</HIT></host_identity>").hosts
    assert host.hit == IPv6Address(HIT)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<host_identity>\n</host_identity>", "line 1: <host_identity>: has no <HIT>"),
        ("\n<host_identity><HIT>x</HIT></host_identity>", "line 2: <HIT>: 'x' is not a HIT"),
        ("<host_identity><HIT>2001:20::1</HIT></host_identity>", "not a HIT of HIP version 1"),
        ("<host_identity><HIT>2001::10::1</HIT></host_identity>", "is not a HIT"),
        (f"<host_identity><HIT>{HIT}</HIT><addr>b</addr></host_identity>", "<addr>: 'b' is not an"),
        (f"<host_identity><HIT>{HIT}</HIT><LSI>::1</LSI></host_identity>", "not an IPv4"),
        (f"<host_identity><HIT>{HIT}</HIT><RVS></RVS></host_identity>", "<RVS>: '' is not an"),
        ('<host_identity alg_id="R"/>', "attribute alg_id: 'R' is not a whole number"),
        ('<host_identity alg_id="-5"/>', "-5 does not lie between 0 and 255"),
        (
            f'<host_identity length="99999999999"><HIT>{HIT}</HIT></host_identity>',
            "attribute length: 99999999999 does not lie",
        ),
        ('<host_identity alg_id="5"><N>xyz</N></host_identity>', "<N>: is not a number in hex"),
        ("<peer_allowed><hit1></hit1></peer_allowed>", "<hit1>: '' is not a HIT"),
        (f"<peer_allowed><hit1>{HIT}</hit1></peer_allowed>", "needs a <hit1> and a <hit2>"),
        (f"<host_identity><name>{'x' * 255}</name></host_identity>", "longer than 254"),
        ("<host_identity><name>a&#9;b</name></host_identity>", "cannot be shown"),
    ],
)
def test_mistakes_are_named_with_file_and_line(text: str, what: str) -> None:
    with pytest.raises(OpenHipFileError) as caught:
        known(text)
    assert str(caught.value).startswith("k.xml: line ")
    assert what in str(caught.value)


def test_what_openhip_does_not_read_is_named() -> None:
    hosts = known(f"<x/><host_identity y=''><HIT>{HIT}</HIT><z/></host_identity>")
    assert hosts.ignored == ("line 1: <x>", "line 1: attribute y", "line 1: <z>")


# -- keys -----------------------------------------------------------------------------------------


def numbers(file: str) -> KeyNumbers:
    key = read_my_hosts(SAMPLES / file).hosts[0].key
    assert key is not None
    return key


def test_rsa_key_without_its_primes() -> None:
    whole = numbers("v4-raw.A.my.xml")
    bare = KeyNumbers(whole.algorithm, {name: whole.numbers[name] for name in ("N", "E", "D")})
    key = bare.private_key(PLACE)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.public_key().public_numbers().n == whole.numbers["N"]


def test_dsa_key() -> None:
    assert isinstance(numbers("dsa-raw.A.my.xml").private_key(PLACE), dsa.DSAPrivateKey)


@pytest.mark.parametrize("file", ["v4-raw.A.my.xml", "dsa-raw.A.my.xml"])
def test_damaged_keys_are_refused_and_not_shown(file: str) -> None:
    whole = numbers(file)
    secret = "D" if whole.algorithm is Algorithm.RSA else "PRIV"
    for value in (0, 1, whole.numbers[secret] + 2, 2**5000):
        damaged = replace(whole, numbers={**whole.numbers, secret: value})
        with pytest.raises(OpenHipFileError) as caught:
            damaged.private_key(PLACE)
        assert "x.xml: line 7: key: " in str(caught.value)
        assert str(value) not in str(caught.value).replace("line 7", "") or value < 2
    with pytest.raises(OpenHipFileError, match=f"has no <{secret}>"):
        whole.public_only().private_key(PLACE)


def test_keys_do_not_show_in_repr() -> None:
    mine = read_my_hosts(SAMPLES / "v4-raw.A.my.xml")
    key = mine.hosts[0].key
    assert key is not None
    assert str(key.numbers["D"]) not in repr(mine) + repr(key)


def test_public_files_have_no_private_numbers() -> None:
    mine = read_my_hosts(SAMPLES / "dsa-raw.A.my.xml")
    assert b"PRIV" not in emit_my_hosts(mine.public())
    assert b"<PUB>" in emit_my_hosts(mine.public())
    assert b"<P>" not in emit_known_hosts(mine)


# -- hip.conf -------------------------------------------------------------------------------------


def test_every_tag_is_read_and_written() -> None:
    found = read_conf(HERE / "full-hip.conf")
    assert set(found.given) == set(tags())
    assert not found.unknown
    # No tag has its default, so none is forgotten.
    for tag in tags():
        assert getattr(found, tag) != getattr(HipConf(), tag), tag
    assert conf_of(parse(emit_conf(found), "c", "hip_configuration"), Path("c")) == found
    assert found.outbound_interface == ("eth1", "wlan0")
    assert found.hip_sa == (2, 1, 5)
    assert found.multicast_key.hex() not in repr(found)


def test_nothing_given_gives_defaults() -> None:
    assert conf("") == HipConf()
    assert HipConf().esp_sa == (1, 2, 3, 4, 5, 6)


def test_what_hitgen_writes_is_read() -> None:
    found = read_conf(HERE / "hitgen-hip.conf")
    assert found.packet_timeout == 10
    assert found.disable_dns_thread
    assert not found.unknown


def test_the_last_of_two_counts_and_unknown_tags_are_named() -> None:
    found = conf("<ual>1</ual>\n<ual> 2 seconds</ual>\n<new>1</new>")
    assert found.ual == 2
    assert found.unknown == ("line 4: <new>",)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<ual>long</ual>", "line 2: <ual>: 'long' is not a whole number"),
        ("<ual>-1</ual>", "does not lie between"),
        ("<dh_group>7</dh_group>", "7 does not lie between 1 and 6"),
        ("<hip_sa></hip_sa>", "lists no suite"),
        ("<esp_sa><transforms>\n<id>7</id></transforms></esp_sa>", "line 3: <id>: 7 does not"),
        ("<preferred>eth0</preferred>", "<preferred>: 'eth0' is not an IPv4 or IPv6 address"),
        ("<lsi_prefix>2001:db8::</lsi_prefix>", "not an IPv4 address"),
        ("<multicast_key>secret</multicast_key>", "are not octets"),
        (f"<cfg_library>{'x' * 300}</cfg_library>", "255 printable octets"),
    ],
)
def test_mistakes_in_hip_conf(text: str, what: str) -> None:
    with pytest.raises(OpenHipFileError) as caught:
        conf(text)
    assert str(caught.value).startswith("hip.conf: line ")
    assert what in str(caught.value)
    assert "secret" not in str(caught.value)
