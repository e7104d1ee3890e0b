"""The Host Identity that a packet brings along."""

from hipgw.errors import IdentityError
from hipgw.identity.host_identity import HostIdentity
from hipgw.protocol.core import Core, Dropped
from hipgw.protocol.drops import DropReason
from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import HostId


def identity_of(core: Core, host_id: HostId, packet: HipPacket) -> HostIdentity:
    """The identity in a HOST_ID, if it is the one the sender's HIT names. Raises Dropped."""
    try:
        peer = HostIdentity.from_wire(
            host_id.algorithm,
            host_id.host_identity,
            packet.version,
            weak_keys=core.config.v1.weak_keys,
        )
    except IdentityError:
        raise Dropped(DropReason.BAD_IDENTITY) from None
    if peer.hit != packet.sender_hit:
        raise Dropped(DropReason.HIT_MISMATCH)
    return peer
