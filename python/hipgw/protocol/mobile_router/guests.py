"""A mobile router inside of another one: what it shows that one of its own clients' flows.

The outer router sees their packets, and by these it learns whose they are. Of an association that
was made before it saw any, it cannot learn by what SPI the correspondent takes data. That is told
in the same way as clients do it, by a ticket, which gives no right: the inner one keeps those.
"""

from collections.abc import Sequence
from itertools import chain

from hipgw.protocol import update_tasks
from hipgw.protocol.core import UP, Core
from hipgw.protocol.mobile_router.flows import Flow
from hipgw.protocol.registration import ServiceType
from hipgw.wire import tlv
from hipgw.wire.parameters import Encrypted, EspInfo, Parameter, ProxyTicket

BATCH = 8
"""Flows in one UPDATE."""
_NO_KEY = bytes(16)


def show(core: Core, flows: Sequence[Flow], now: float) -> None:
    """Tell the routers that this one is inside of by what SPIs correspondents take data."""
    known = [flow for flow in flows if flow.lent and flow.proven_spis]
    for router in core.mobile_routers.values():
        session, path = router.session, router.path
        inside = ServiceType.MOBILE_NETWORK in router.registrations.held.grants
        if not inside or router.state not in UP or session is None or path is None:
            continue
        for at in range(0, len(known), BATCH):
            pairs = chain.from_iterable(_pair(flow) for flow in known[at : at + BATCH])
            inner = tlv.build((one.type, one.emit()) for one in pairs)
            key = session.hip_keys.outgoing_encryption
            hidden = session.version.encrypt(session.choice, key, inner, core.random)
            update_tasks.begin(
                core,
                router,
                session,
                [Encrypted(hidden)],
                [path],
                now,
                acknowledged=update_tasks.ignore,
                abandoned=update_tasks.ignore,
            )


def _pair(flow: Flow) -> tuple[Parameter, Parameter]:
    info = EspInfo(0, flow.proven_spis[-1], flow.lent[-1].public)
    return info, ProxyTicket(flow.client_hit, flow.peer_hit, _NO_KEY, 0, 0, 0, 0, _NO_KEY)
