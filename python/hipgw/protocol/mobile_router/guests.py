"""A mobile router inside of another one: what it shows that one of its own clients' flows.

The outer router sees their packets, and by these it learns whose they are. Of an association that
was made before it saw any, it cannot learn by what SPI the correspondent takes data. That is told
in the same way as clients do it, by a ticket, which gives no right: the inner one keeps those.
"""

from collections.abc import Sequence

from hipgw.protocol import update_tasks
from hipgw.protocol.core import UP, Core
from hipgw.protocol.mobile_router.flows import Flow
from hipgw.protocol.registration import ServiceType
from hipgw.wire import tlv
from hipgw.wire.parameters import (
    Encrypted,
    EspInfo,
    Locator,
    LocatorSet,
    Parameter,
    ProxyTicket,
    SpiLocator,
)

BATCH = 8
"""Flows in one UPDATE."""
_NO_KEY = bytes(16)
_FOREVER = 0xFFFFFFFF


def show(core: Core, flows: Sequence[Flow], now: float) -> None:
    """Tell the routers that this one is inside of by what SPIs correspondents take data."""
    known = [flow for flow in flows if flow.lent and flow.proven_spis]
    for router in core.mobile_routers.values():
        session, path = router.session, router.path
        inside = ServiceType.MOBILE_NETWORK in router.registrations.held.grants
        if not inside or router.state not in UP or session is None or path is None:
            continue
        for at in range(0, len(known), BATCH):
            key = session.hip_keys.outgoing_encryption
            told = [
                Encrypted(session.version.encrypt(session.choice, key, _inner(flow), core.random))
                for flow in known[at : at + BATCH]
            ]
            update_tasks.begin(
                core,
                router,
                session,
                told,
                [path],
                now,
                acknowledged=update_tasks.ignore,
                abandoned=update_tasks.ignore,
            )


def _inner(flow: Flow) -> bytes:
    spi = flow.proven_spis[-1]
    addresses = [place.address for place in (*flow.peer.values(), *flow.claimed.values())]
    parameters: tuple[Parameter, ...] = (
        EspInfo(0, spi, flow.current.public),
        LocatorSet(
            tuple(Locator(SpiLocator(spi, one), _FOREVER) for one in dict.fromkeys(addresses))
        ),
        ProxyTicket(flow.client_hit, flow.peer_hit, _NO_KEY, 0, 0, 0, 0, _NO_KEY),
    )
    return tlv.build((one.type, one.emit()) for one in parameters)
