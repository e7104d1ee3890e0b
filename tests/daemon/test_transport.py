"""What the control plane's sockets do when packets do not leave."""

from ipaddress import ip_address

import pytest

from hipgw.daemon.transport import ControlTransport
from hipgw.logs import PACKET_BURST
from hipgw.protocol.path import Path


def test_packets_that_cannot_leave_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Strangers choose where answers to their I1 go."""
    transport = ControlTransport({}, {}, udp_port=10500)
    for _ in range(1000):
        transport.send(b"R1", Path(None, ip_address("192.0.2.1")))
    assert transport.send_errors == 1000
    assert 0 < len(caplog.records) <= 2 * PACKET_BURST
