"""What `hipgw doctor` looks at."""

import socket

from hipgw.cli.checks import _lent_ports


def test_ports_that_the_relay_lends() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        taken = _lent_ports(range(port, port + 1), running=False)
        assert taken.verdict == "bad"
        assert str(port) in taken.detail
        assert "relay.first_port" in taken.hint
        assert _lent_ports(range(port, port + 1), running=True).verdict == "good"
    assert _lent_ports(range(port, port + 1), running=False).verdict == "good"
