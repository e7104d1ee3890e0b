"""Who is asked, and who is given up."""

from ipaddress import IPv6Address

from hipgw.roles.dead_peers import (
    ASK_S,
    ASKED_AT_ONCE,
    DEAD_S,
    LOOK_S,
    PATIENT_ASK_S,
    PATIENT_DEAD_S,
    PATIENT_SEARCH_S,
    SEARCH_AGAIN_S,
    SEARCH_S,
    SILENCE_S,
    DeadPeerDetection,
    Traffic,
    look_interval,
)

PEER = IPv6Address("2001:21::1")


def test_a_peer_that_answers_traffic_is_left_alone() -> None:
    detection = DeadPeerDetection()
    for turn in range(10):
        assert detection.look([Traffic(PEER, 0.1, 0.2)], turn) == ([], [], [])


def test_silence_on_both_sides_means_nothing() -> None:
    detection = DeadPeerDetection()
    for quiet in (Traffic(PEER, None, None), Traffic(PEER, 60.0, 60.0), Traffic(PEER, 60.0, 0.1)):
        assert detection.look([quiet], 0.0) == ([], [], [])


def test_a_peer_that_answers_questions_only_is_alive_and_seldom_asked() -> None:
    detection, now, asked = DeadPeerDetection(), 0.0, 0
    while now < 10 * SILENCE_S:
        found = detection.look([Traffic(PEER, 0.1, None)], now)
        assert found.search == found.dead == []
        if found.ask:
            asked += 1
            detection.answered(PEER, now + 0.01)
        now += LOOK_S
    assert 5 <= asked <= 10


def test_a_peer_that_answers_nothing_is_given_up() -> None:
    detection, now, searched = DeadPeerDetection(), 0.0, []
    while now < DEAD_S:
        # Also when nothing more is sent meanwhile.
        found = detection.look([Traffic(PEER, 9.0 if now else 0.1, 30.0)], now)
        assert found.dead == []
        assert found.ask == ([PEER] if now == int(now) else [])
        # Other paths are tried before, as it may be the path that is dead.
        if found.search:
            searched.append(now)
        now += LOOK_S
    assert searched[0] == SEARCH_S
    assert len(searched) >= 2
    assert detection.look([Traffic(PEER, 9.0, 30.0)], now) == ([], [], [PEER])
    assert detection.look([], now) == ([], [], [])


def test_a_peer_that_may_be_in_a_tunnel_is_given_more_time_and_asked_less() -> None:
    detection, now, asked, searched = DeadPeerDetection(), 0.0, 0, 0
    while now < PATIENT_DEAD_S:
        found = detection.look([Traffic(PEER, 0.1, 300.0)], now, lambda hit: hit == PEER)
        assert found.dead == []
        asked += len(found.ask)
        searched += len(found.search)
        now += LOOK_S
    assert asked <= DEAD_S / ASK_S + PATIENT_DEAD_S / PATIENT_ASK_S + 2
    assert searched <= DEAD_S / SEARCH_AGAIN_S + PATIENT_DEAD_S / PATIENT_SEARCH_S + 2
    found = detection.look([Traffic(PEER, 0.1, 300.0)], now, lambda _hit: True)
    assert found == ([], [], [PEER])


def test_what_nobody_could_answer_does_not_count() -> None:
    detection = DeadPeerDetection()
    detection.look([Traffic(PEER, 0.1, 30.0)], 0.0)
    detection.forget()
    assert detection.look([Traffic(PEER, 0.1, 30.0)], DEAD_S + 1) == ([PEER], [], [])
    assert detection.look([Traffic(PEER, 0.1, 30.0)], DEAD_S + 1.5).dead == []


def test_many_are_asked_one_after_another() -> None:
    detection = DeadPeerDetection()
    peers = [IPv6Address((0x2001002 << 100) + number) for number in range(3 * ASKED_AT_ONCE)]
    asked: set[IPv6Address] = set()
    for turn in range(3):
        found = detection.look([Traffic(peer, 0.1, 30.0) for peer in peers], turn * 0.1)
        assert len(found.ask) <= ASKED_AT_ONCE
        asked.update(found.ask)
    assert asked == set(peers)


def test_looking_does_not_take_the_whole_core() -> None:
    assert look_interval(2) == LOOK_S
    assert look_interval(20_000) == 5.0
