"""Who is asked, and who is given up."""

from ipaddress import IPv6Address

from hipgw.roles.dead_peers import ASKED_MAX, DeadPeerDetection, Traffic

PEER = IPv6Address("2001:21::1")


def test_a_peer_that_answers_traffic_is_left_alone() -> None:
    detection = DeadPeerDetection()
    for _ in range(10):
        assert detection.look([Traffic(PEER, 0.1, 0.2)]) == ([], [], [])


def test_silence_on_both_sides_means_nothing() -> None:
    detection = DeadPeerDetection()
    for quiet in (Traffic(PEER, None, None), Traffic(PEER, 60.0, 60.0), Traffic(PEER, 60.0, 0.1)):
        assert detection.look([quiet]) == ([], [], [])


def test_a_peer_that_answers_questions_only_is_alive() -> None:
    detection = DeadPeerDetection()
    for _ in range(10):
        assert detection.look([Traffic(PEER, 0.1, None)]) == ([PEER], [], [])
        detection.answered(PEER)


def test_a_peer_that_answers_nothing_is_given_up() -> None:
    detection = DeadPeerDetection()
    for asked in range(ASKED_MAX):
        # Also when nothing more is sent meanwhile.
        found = detection.look([Traffic(PEER, 0.1 if not asked else 9.0, 30.0)])
        # Other paths are tried before, as it may be the path that is dead.
        assert found == ([PEER], [PEER] if asked else [], [])
    assert detection.look([Traffic(PEER, 9.0, 30.0)]) == ([], [], [PEER])
    assert detection.look([]) == ([], [], [])
