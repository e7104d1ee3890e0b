"""Who is asked, and who is given up."""

from ipaddress import IPv6Address

from hipgw.roles.dead_peers import (
    ASKED_AT_ONCE,
    AWAY_S,
    DEAD_S,
    LOOK_S,
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


def test_who_may_be_without_a_network_is_given_longer() -> None:
    detection = DeadPeerDetection()
    quiet = Traffic(PEER, 0.1, 30.0)
    now, dead = 0.0, []
    while now < DEAD_S + 5.0:
        dead += detection.look([quiet], now, lambda hit: hit == PEER).dead
        now += 0.5
    assert not dead
    while now < AWAY_S + 5.0 and not dead:
        dead = detection.look([quiet], now, lambda hit: hit == PEER).dead
        now += 0.5
    assert dead == [PEER]
