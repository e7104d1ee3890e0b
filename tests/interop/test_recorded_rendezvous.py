"""What OpenHIP's rendezvous server has passed on, from hipgw in its place: octet for octet."""

from dataclasses import replace

import pytest

from hipgw.protocol.compat import OPENHIP
from hipgw.protocol.config import MachineConfig
from hipgw.protocol.effects import SendDatagram
from hipgw.protocol.path import Path, Transport
from hipgw.protocol.rendezvous.config import RendezvousConfig
from hipgw.wire.packet import PacketType
from hipgw.wire.parameters import From, RelayFrom
from interop import openhip
from interop.openhip import Packet
from interop.recorded import HIP
from interop.registered import registrations
from interop.replay import Replay

REST_S = 30.0


class Server(Replay):
    """A registration, up to where its client was silent: relaying goes on by itself."""

    compact = False

    def _begin(self) -> None:
        closes = (
            number
            for number, packet in enumerate(self._packets)
            if packet.protocol == HIP and packet.hip.packet_type is PacketType.CLOSE
        )
        del self._packets[next(closes) :]
        super()._begin()

    def _config(self) -> MachineConfig:
        config = super()._config()
        assert config.registrar is not None
        terms = RendezvousConfig(
            allow=lambda _hit: True,
            min_lifetime_s=config.registrar.min_lifetime_s,
            max_lifetime_s=config.registrar.max_lifetime_s,
            compact=self.compact,
        )
        registrar = replace(config.registrar, rendezvous=terms)
        return replace(config, registrar=registrar, compat=lambda _hit: OPENHIP)

    def pass_on(self, packet: Packet) -> list[SendDatagram]:
        """What the machine sends for an I1."""
        path = self._arrival(packet)
        effects = self.machine.datagram_received(packet.data, path, self.now)
        return [effect for effect in effects if isinstance(effect, SendDatagram)]

    def rest(self) -> None:
        """Let time pass."""
        ends = self.now + REST_S
        while (due := self.machine.next_timer()) is not None and due <= ends:
            self.now = due
            self.machine.timer_expired(self.now)
        self.now = ends


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("capture", ["rvs-raw", "rvs-udp"])
def test_an_i1_is_passed_on_as_recorded(capture: str, compact: bool) -> None:
    (conversation,) = registrations(capture)
    server = Server(conversation, conversation.responder)
    server.compact = compact
    outcome = server.run()
    assert outcome.taken
    assert not outcome.refused
    server.rest()
    assert server.machine.resting_count == compact
    (file,) = (file for file in openhip.CAPTURES if file.stem == capture)
    i1s = [
        packet
        for packet in openhip.packets(file)
        if packet.protocol == HIP and packet.hip.packet_type is PacketType.I1
    ]
    (recorded,) = (packet for packet in i1s if packet.hip.get(From) is not None)
    (came,) = (
        packet
        for packet in i1s
        if packet.hip.receiver_hit == recorded.hip.receiver_hit and packet is not recorded
    )
    (sent,) = server.pass_on(came)
    assert sent.data == recorded.data
    udp = recorded.ports is not None
    assert udp == (capture == "rvs-udp")
    transport = Transport.UDP if udp else Transport.RAW
    assert sent.path == Path(recorded.source, recorded.destination, transport)
    assert recorded.hip.get(RelayFrom) is None
