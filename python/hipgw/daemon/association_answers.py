"""Associations and security associations, as the control socket answers them."""

from collections.abc import Sequence

from hipgw.config.names import (
    DhGroupName,
    EspSuiteName,
    HipCipherName,
    V1DhGroupName,
    V1SuiteName,
)
from hipgw.control.api import AssociationAnswer, PathAnswer, SaAnswer
from hipgw.daemon.events import path_answer
from hipgw.dataplane.backend import SecurityAssociation
from hipgw.protocol.association_infos import AssociationInfo
from hipgw.protocol.path import Path, Transport
from hipgw.roles.security_associations import PathMtu

_Named = DhGroupName | HipCipherName | EspSuiteName | V1DhGroupName | V1SuiteName


def association_answer(
    info: AssociationInfo, name: str | None, mtu: PathMtu | None, now: float
) -> AssociationAnswer:
    """An association, *now* on the machine's clock; *name*: the peer's, if it has one."""
    return {
        "peer": name,
        "local_hit": str(info.local_hit),
        "peer_hit": str(info.peer_hit),
        "state": info.state.value,
        "path": optional_path(info.path),
        "initiator": info.initiator,
        "age_s": None if info.established_at is None else now - info.established_at,
        "exchange_s": info.exchange_s,
        "peer_identity": info.peer_identity or None,
        "version": info.version,
        "compat": info.compat,
        "dh_group": _name_by_id((DhGroupName, V1DhGroupName), info.dh_group),
        "hip_cipher": _name_by_id(
            (V1SuiteName,) if info.version == 1 else (HipCipherName,), info.cipher
        ),
        "esp_suite": _name_by_id((EspSuiteName, V1SuiteName), info.esp_suite),
        "inbound_spi": info.inbound_spi or None,
        "outbound_spi": info.outbound_spi or None,
        "path_mtu": None if mtu is None else mtu.mtu,
        "path_mtu_source": None if mtu is None else mtu.source.value,
    }


def sa_answer(entry: SecurityAssociation, name: str | None) -> SaAnswer:
    """A security association of the data plane; *name*: the peer's."""
    return {
        "spi": entry.spi,
        "direction": "in" if entry.direction == "in" else "out",
        "suite": _name_by_id((EspSuiteName, V1SuiteName), entry.suite) or str(entry.suite),
        "peer": name,
        "local_hit": str(entry.local_hit),
        "peer_hit": str(entry.peer_hit),
        "path": path_answer(
            Path(
                entry.local,
                entry.remote,
                Transport.UDP if entry.udp else Transport.RAW,
                entry.local_port,
                entry.remote_port,
            )
        ),
        "packets": entry.packets,
        "bytes": entry.bytes,
        "sequence": entry.sequence,
        "replayed": entry.replayed,
        "auth_failed": entry.auth_failed,
        "lost": entry.lost,
        "last_used_s": entry.last_used_s,
    }


def optional_path(path: Path | None) -> PathAnswer | None:
    """A path, where there may be none yet."""
    return None if path is None else path_answer(path)


def _name_by_id(kinds: "Sequence[type[_Named]]", number: int) -> str | None:
    return next((str(name) for names in kinds for name in names if name.wire_id == number), None)
