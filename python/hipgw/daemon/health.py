"""What ails the daemon, for `hipgw status`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv6Address

from hipgw.config.schema import Config, PeerConfig
from hipgw.control.api import HealthWarning
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.protocol.effects import Effect, RegistrationChanged
from hipgw.protocol.registration import RegistrationInfo, ServiceType

_NOT_YET = "it was not reached yet"


class Health:
    """Judges what the daemon's rooms tell of themselves; remembers why registrations ended."""

    def __init__(
        self,
        config: Config,
        directory: PeerDirectory,
        *,
        endboxes: Callable[[], Iterable[PeerConfig]] | None = None,
    ) -> None:
        """*endboxes* gives those that frames are exchanged with now, if not all configured ones."""
        self._watches = config.mobility.enabled
        self._endboxes = endboxes or (lambda: config.endbox_peers)
        self._directory = directory
        relayed = {name.wire_id: name.value for name in config.nat.services}
        met = {int(ServiceType.RENDEZVOUS): "rendezvous"}
        routed = {int(ServiceType.MOBILE_ROUTER): "being behind it"}
        self._wanted: tuple[tuple[tuple[str, ...], dict[int, str]], ...] = (
            (config.nat.relays, relayed),
            (config.rendezvous.servers, met),
            (config.mobile_node.routers, routed),
        )
        """Names of registrars, with the services that are wanted of each, by registration type."""
        self._refusals: dict[tuple[IPv6Address, int], str] = {}

    def handle_event(self, event: Effect) -> None:
        """Take note of what happens to registrations with the configured relays and servers."""
        match event:
            case RegistrationChanged(registrar=False, peer_hit=hit, reg_type=reg_type) if any(
                peer is not None and peer.hit == hit for _, peer, _ in self._registrars()
            ):
                if event.lifetime_s:
                    self._refusals.pop((hit, reg_type), None)
                else:
                    self._refusals[hit, reg_type] = event.reason
            case _:
                pass

    def warnings(
        self,
        up: Iterable[IPv6Address],
        *,
        has_address: bool,
        registrations: Iterable[RegistrationInfo],
        failures: Mapping[IPv6Address, str],
        cut_off: bool = False,
    ) -> list[HealthWarning]:
        """What is wrong now.

        *up*: HITs of the peers that data can be sent to; *has_address*: whether any own address is
        usable; *failures*: why peers could not be associated with, or were lost; *cut_off*: whether
        this machine is behind mobile routers that have no network.
        """
        established = set(up)
        found: list[HealthWarning] = []
        if self._watches and not has_address:
            found.append(
                _warning(
                    "no_address",
                    "no own address is usable",
                    "peers cannot be told where this machine is; see [mobility] if it has one",
                )
            )
        if cut_off:
            found.append(
                _warning(
                    "router_without_network",
                    "the mobile router that this machine is behind has no network",
                    "peers are kept until it has one again",
                )
            )
        found += [
            _warning(
                "peer_down", f"no association with {peer.name}", failures.get(peer.hit, _NOT_YET)
            )
            for entry in self._endboxes()
            if (peer := self._directory.by_hit(entry.hit)) and peer.hit not in established
        ]
        in_force = {(one.peer_hit, one.reg_type) for one in registrations if not one.registrar}
        for name, peer, services in self._registrars():
            if peer is None:
                what = " and ".join(services.values())
                message = f"not registered with {name} for {what}"
                hint = "the fleet's directory has nobody of this name"
                found.append(_warning("not_registered", message, hint))
                continue
            missing = [one for one in services if (peer.hit, one) not in in_force]
            if not missing:
                continue
            reason = failures.get(peer.hit, _NOT_YET)
            if peer.hit in established:
                reason = self._refusals.get((peer.hit, missing[0]), "no answer yet")
            wanted = " and ".join(services[one] for one in missing)
            found.append(
                _warning("not_registered", f"not registered with {peer.name} for {wanted}", reason)
            )
        return found

    def _registrars(self) -> Iterator[tuple[str, Peer | None, dict[int, str]]]:
        """As they are known now: those of the fleet's directory come and go."""
        for names, services in self._wanted:
            for name in names:
                peer = self._directory.by_name(name)
                yield name, None if peer is None or peer.was_found else peer, services


def _warning(code: str, message: str, hint: str) -> HealthWarning:
    return {"code": code, "severity": "warning", "message": message, "hint": hint}
