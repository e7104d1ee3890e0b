"""A machine that is registered as a recorded host was: what the server passes on counts then."""

from functools import cache
from ipaddress import IPv6Address

from hipgw.identity.dh import DhKeyPair
from hipgw.identity.hip_suites import hip_suite
from hipgw.identity.keymat import EspKeys, HipKeys
from hipgw.protocol.association import Session
from hipgw.protocol.machine import HipMachine
from hipgw.protocol.path import Path
from hipgw.protocol.registration import Grant, ServiceType
from hipgw.protocol.transitions import Trigger
from hipgw.protocol.versions.base import Choice
from hipgw.protocol.versions.registry import VERSIONS
from hipgw.wire.packet import PacketType
from hipgw.wire.parameters import From, HipTransform, RegResponse
from interop import openhip
from interop.conversations import Conversation, openhip_conversations
from interop.openhip import Packet
from interop.recorded import HIP

LONG_S = 1e6


@cache
def registrations(capture: str) -> tuple[Conversation, ...]:
    """The recorded conversations of a capture in which rendezvous was granted."""
    files = [file for file in openhip.CAPTURES if file.stem == capture]
    return tuple(
        one
        for file in files
        for one in openhip_conversations(file)
        if (r2 := one.first(PacketType.R2)) is not None and _grants(r2.hip.get(RegResponse))
    )


def passed_on(conversation: Conversation) -> Packet | None:
    """The I1 of a conversation as a server passed it on; None if none did."""
    seen = (packet for packet in conversation.packets if packet.protocol == HIP)
    return next((packet for packet in seen if packet.hip.get(From) is not None), None)


def register(
    machine: HipMachine, conversation: Conversation, local_hit: IPv6Address, path: Path, now: float
) -> None:
    """Have a machine be a client of the server that has passed an I1 on along *path*.

    The keys are the recorded ones.
    """
    for one in registrations(conversation.capture):
        if local_hit in (one.initiator, one.responder):
            _associate(machine, one, local_hit, path, now)


def _grants(response: RegResponse | None) -> bool:
    return response is not None and ServiceType.RENDEZVOUS in response.reg_types


def _associate(
    machine: HipMachine, one: Conversation, local_hit: IPv6Address, path: Path, now: float
) -> None:
    core, server = machine._core, one.peer_of(local_hit)
    local = core.identities[local_hit]
    own = 0 if local_hit > server else 2
    version = VERSIONS[local.version]
    r1 = one.first(PacketType.R1)
    assert r1 is not None
    transform = r1.hip.get(HipTransform)
    assert transform is not None
    association = core.create(local, server)
    suite = transform.suites[0]
    session = Session(
        version=version,
        compat=one.compat,
        peer=one.identities[server].public,
        choice=Choice(suite, suite),
        puzzle_hash=version.puzzle_hash(local_hit),
        rhash=hip_suite(suite).mac,
        hip_keys=HipKeys(*one.hip_keys[own : own + 2], *one.hip_keys[2 - own : 4 - own]),
        esp_keys=EspKeys(b"", b"", b"", b""),
        dh_group=3,
        inbound_spi=0,
        keymat=None,  # type: ignore[arg-type]
        salt=(b"", b""),
        own_dh=DhKeyPair.generate(3),
        peer_dh=b"",
    )
    core.move(association, Trigger.CONNECT, "as recorded")
    core.move(association, Trigger.R1, "as recorded")
    core.move(association, Trigger.R2, "as recorded")
    core.adopt(association, session, path, now, began=now)
    held = association.registrations.held
    held.grants[ServiceType.RENDEZVOUS] = Grant(ServiceType.RENDEZVOUS, LONG_S, now + LONG_S)
    core.rendezvous_servers[server] = association
    core.effects.clear()
