"""hipgw's machine in the place of either host of every recorded conversation."""

from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from hipgw.protocol.compat import CUTEHIP, HIP_VPLS, OPENHIP, PROFILES, RFC, Compat
from hipgw.protocol.config import MachineConfig, V1Config
from hipgw.protocol.effects import Effect, SendDatagram
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.path import Path, Transport
from interop.conversations import Conversation
from interop.openhip import CAPTURES, hip_packets, identities
from interop.replay import RecordedRandom, Replay
from interop.replay_table import (
    FILE,
    LEFT_OUT,
    REASONS,
    conversations,
    otherwise,
    outcome,
    roles,
    table,
)

ROLES = [
    pytest.param(conversation, hit, id=f"{conversation}-{conversation.names[hit]}")
    for conversation, hit in roles()
]

NEEDED = {
    (OPENHIP, "puzzle_bits"): "v4-raw",
    (OPENHIP, "disordered"): "mob-v4v6-raw",
    (OPENHIP, "md5_mac_padded"): "suite3-raw",
    (OPENHIP, "keymat_octets"): "rekey-dh-udp",
    (OPENHIP, "unsigned_echo_octets"): "mob-ifconfig-raw",
    (OPENHIP, "moves_with_rekey"): "mob-ifconfig-raw",
    (OPENHIP, "echo_acknowledges"): "mob-v4v6-raw",
    (OPENHIP, "unnumbered_locators"): "multihoming-mh-raw",
    (OPENHIP, "one_locator"): "multihoming-mh-raw",
    (OPENHIP, "mobile_router_type"): "mr-raw-mn",
    (OPENHIP, "lends_keymat"): "mr-raw-cn",
    (OPENHIP, "registers_once"): "rvs-raw",
    (OPENHIP, "rendezvous_ports"): "rvs-udp",
    (CUTEHIP, "puzzle_responder_first"): "c1-outer",
    (CUTEHIP, "r1_counter"): "c1-outer",
    (CUTEHIP, "plain_r1"): "c1-outer",
    (CUTEHIP, "clear_host_id"): "c1-outer",
    (CUTEHIP, "r2_signature_2"): "c1-outer",
    (CUTEHIP, "swapped_exchange_macs"): "c1-outer",
    (CUTEHIP, "bare_updates"): "c1-outer",
    (HIP_VPLS, "puzzle_responder_first"): "v1-core",
    (HIP_VPLS, "r1_counter_first"): "v1-core",
    (HIP_VPLS, "disordered"): "v1-core",
    (HIP_VPLS, "plain_r1"): "v1-core",
    (HIP_VPLS, "clear_host_id"): "v1-core",
    (HIP_VPLS, "r2_signature_2"): "v1-core",
    (HIP_VPLS, "swapped_esp_keys"): "v1-core",
    (HIP_VPLS, "bare_updates"): "v1-core",
}
"""Deviation -> a conversation that does not go as recorded without it."""
NOT_IN_PACKETS = {
    "kij_zeros": "no recorded Kij begins with zero",
    "keepalive_notify": "what hipgw does not send is not in packets",
    "probes": "the same",
    "short_ack": "no recorded Update ID is above 255",
    "udp_over_ipv6": "how a peer is called",
    "rendezvous_ports": "every recorded I1 that a server passed on had come from port 10500",
    "bare_frames": "inside ESP, as those below: see the tests of what is in there",
    "begins_by_lsi": "",
    "esp_icv_octets": "",
    "esp_esn": "",
    "esp_null_iv": "",
    "etherip_whole": "",
}
"""Deviation -> why no recorded conversation shows it."""


@pytest.mark.parametrize(("conversation", "hit"), ROLES)
def test_a_role(conversation: Conversation, hit: IPv6Address) -> None:
    found = outcome(conversation, hit)
    assert set(otherwise(found)) <= set(REASONS)
    # Everybody gets as far as keys, whatever becomes of the association later.
    assert found.associations >= 2
    assert not [one for one in found.refused if one.split(":")[0] in ("R1", "I2", "R2")]


def test_nothing_is_left_out() -> None:
    assert FILE.read_text() == table()
    used = {what for one, hit in roles() for what in otherwise(outcome(one, hit))}
    assert used == set(REASONS)
    assert len(ROLES) == 2 * len(conversations()) - len(LEFT_OUT)


@pytest.mark.parametrize(
    ("profile", "deviation"), NEEDED, ids=[f"{one.name}-{what}" for one, what in NEEDED]
)
def test_without_a_deviation_it_does_not_go_as_recorded(profile: Compat, deviation: str) -> None:
    without = replace(profile, **{deviation: getattr(RFC, deviation)})
    found = [
        goes_as_before(replace(conversation, compat=without), hit, conversation)
        for conversation, hit in roles()
        if str(conversation) == NEEDED[profile, deviation]
    ]
    assert found
    assert not all(found)


def goes_as_before(changed: Conversation, hit: IPv6Address, conversation: Conversation) -> bool:
    try:
        return Replay(changed, hit).run() == outcome(conversation, hit)
    except AssertionError:
        return False


def test_every_deviation_is_shown_or_cannot_be() -> None:
    for profile in PROFILES.values():
        shown = {what for one, what in NEEDED if one is profile}
        assert set(profile.deviations()) - shown <= set(NOT_IN_PACKETS)


def test_one_new_key_makes_a_new_keymat_with_the_peers_old_one() -> None:
    """I and J are those of the base exchange, as the keys of all 14 pairs of SAs show."""
    (conversation,) = (one for one in conversations() if str(one) == "rekey-dh-udp")
    first, second = conversation.secrets
    assert len(first & second) == 1
    assert len(conversation.esp_keys) == 14
    for hit in (conversation.initiator, conversation.responder):
        assert outcome(conversation, hit).associations == 2 * 14


# -- what ends before there are keys ---------------------------------------------------------------


def test_suites_that_only_the_responder_has() -> None:
    """OpenHIP tells the Responder so. hipgw does not: it would sign for anybody who sends an R1."""
    (capture,) = (one for one in CAPTURES if one.stem == "notify-noprop")
    i1, r1, notify = hip_packets(capture)
    known = identities(capture.stem)
    config = MachineConfig(
        compat=lambda _hit: OPENHIP, v1=V1Config(dh_groups=(3,), hip_suites=(1,))
    )
    there, back = (Path(one.source, one.destination, Transport.RAW) for one in (i1, r1))

    initiator = HipMachine(config, [known[i1.hip.sender_hit]], RecordedRandom(), 0.0)
    assert sent(initiator.connect(r1.hip.sender_hit, [there], 0.0)) == [i1.data]
    assert sent(initiator.datagram_received(r1.data, there, 0.1)) == []
    assert initiator.statistics()["drops"]["no_proposal"] == 1

    responder = HipMachine(config, [known[r1.hip.sender_hit]], RecordedRandom(), 0.0)
    assert len(sent(responder.datagram_received(i1.data, back, 0.0))) == 1
    # Nothing is remembered of an R1, so nobody is there to be told.
    assert sent(responder.datagram_received(notify.data, back, 0.1)) == []
    assert responder.statistics()["drops"]["no_association"] == 1


def sent(effects: list[Effect]) -> list[bytes]:
    return [effect.data for effect in effects if isinstance(effect, SendDatagram)]
