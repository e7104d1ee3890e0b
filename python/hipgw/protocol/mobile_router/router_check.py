"""Whether a mobile router is still there, and still knows this host, its client.

A router that was restarted has no associations and passes nothing on. Nothing else tells a client
soon: its correspondents are silent as they are without a network, and it would renew its
registration in minutes. So it asks, and begins anew if nobody answers. A router that remembers its
clients calls them (`recall`), which is faster still.
"""

from typing import TYPE_CHECKING

from hipgw.protocol import paths, update_tasks
from hipgw.protocol.mobile_router import client
from hipgw.wire.parameters import EchoRequestSigned, RegInfo

if TYPE_CHECKING:
    from hipgw.protocol.association import Association
    from hipgw.protocol.core import Core

NONCE_OCTETS = 16
RETRIES = 3


def timer_expired(core: "Core", router: "Association", now: float) -> None:
    """Ask it, if it is time."""
    held, session, path = router.registrations.held, router.session, router.path
    if held.check_at is None or held.check_at > now:
        return
    held.check_at = None
    if core.mobile_routers.get(router.peer_hit) is not router or session is None or path is None:
        return
    nonce = core.random(NONCE_OCTETS)
    update_tasks.begin(
        core,
        router,
        session,
        [EchoRequestSigned(nonce)],
        [path],
        now,
        acknowledged=_is_there,
        abandoned=_is_gone,
        nonce=nonce,
        retries=RETRIES,
        routes=paths.current,
    )


def _is_there(core: "Core", router: "Association", *_more: object) -> None:
    client.look_after(core, router, core.now)


def _is_gone(core: "Core", router: "Association", *_more: object) -> None:
    router.registrations.held.unanswered = True
    router.registrations.held.check_at = None
    core.arm(router)


def offer(core: "Core", association: "Association", now: float) -> None:
    """Router: a client that was called back is there; offer what it had (RFC 8003 §4.2)."""
    registrar, session, path = core.registrar, association.session, association.path
    if registrar is None or session is None or path is None:
        return
    info: RegInfo = registrar.offer(registrar.config, session.compat)
    update_tasks.begin(
        core,
        association,
        session,
        [info],
        [path],
        now,
        acknowledged=update_tasks.ignore,
        abandoned=update_tasks.ignore,
    )
