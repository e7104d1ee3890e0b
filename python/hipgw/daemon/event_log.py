"""News from the HIP machine, as the log tells them."""

import logging
from ipaddress import IPv6Address

from hipgw.logs import packet_path_logger
from hipgw.naming.peers import PeerDirectory
from hipgw.protocol.effects import (
    Closed,
    Effect,
    Established,
    Failed,
    PacketTrace,
    PathChanged,
    PathMtuChanged,
    Rekeyed,
)

_log = logging.getLogger(__name__)
_packet_log = packet_path_logger(__name__ + ".packets")


class EventLog:
    """Writes a line for each event that a person may want to know of."""

    def __init__(self, directory: PeerDirectory) -> None:
        self._directory = directory

    def write(self, event: Effect) -> None:
        """Log an event; of single packets only if debugging is asked for."""
        match event:
            case Established():
                _log.info(
                    "association established",
                    extra={
                        **self._named(event.peer_hit),
                        "remote": str(event.path.remote),
                        "transport": event.path.transport.value,
                        # The Responder hears of it no earlier than when it is done.
                        **({"duration_s": round(event.duration, 4)} if event.initiator else {}),
                    },
                )
            case Closed():
                _log.info(
                    "association closed",
                    extra={**self._named(event.peer_hit), "reason": event.reason},
                )
            case PathChanged():
                _log.info(
                    "the path has changed",
                    extra={
                        **self._named(event.peer_hit),
                        "local": str(event.new.local),
                        "remote": str(event.new.remote),
                        "reason": event.reason,
                    },
                )
            case Rekeyed():
                _log.info(
                    "new keys are in force",
                    extra={**self._named(event.peer_hit), "spi": f"{event.outbound_spi:#010x}"},
                )
            case PathMtuChanged():
                # Routers on the way can say something else each time.
                _packet_log.info(
                    "path MTU found out",
                    extra={
                        **self._named(event.peer_hit),
                        "remote": str(event.path.remote),
                        "mtu": event.mtu,
                        "source": event.source.value,
                    },
                )
            case Failed():
                _log.warning(
                    "no association",
                    extra={**self._named(event.peer_hit), "reason": event.reason},
                )
            case PacketTrace() if _packet_log.isEnabledFor(logging.DEBUG):
                path = event.path
                _packet_log.debug(
                    "packet",
                    extra={
                        "direction": event.direction.value,
                        "packet": event.packet,
                        **self._named(event.peer_hit),
                        "remote": str(path.remote),
                        "transport": path.transport.value,
                        "size": event.size,
                        **({"dropped": event.dropped} if event.dropped else {}),
                    },
                )
            case _:
                pass

    def _named(self, hit: IPv6Address | None) -> dict[str, str]:
        """A peer in a log record: its HIT, and its name if it is configured."""
        peer = self._directory.by_hit(hit) if hit is not None else None
        return {"peer_hit": str(hit), **({"peer": peer.name} if peer else {})}
