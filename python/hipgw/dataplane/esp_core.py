"""The data plane that runs in this process: the Rust engine of `hipgw._esp_core`."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal, cast

from hipgw import _esp_core
from hipgw.dataplane.backend import (
    DEFAULT_MAC_AGE_S,
    DEFAULT_MAC_LIMIT,
    DEFAULT_REPLAY_WINDOW,
    Acquire,
    ControlReceived,
    DataPlaneEvent,
    DataPlaneStatistics,
    Fatal,
    FirstData,
    IPAddress,
    LearnedMac,
    SecurityAssociation,
    SourceChanged,
    StunReceived,
    UnknownSpi,
)
from hipgw.dataplane.lan import GROUP_HIT, ElectionState, LanSettings, Pulse
from hipgw.errors import DataPlaneError
from hipgw.identity.esp_format import DEFAULT_ESP_FORMAT, EspFormat

Direction = Literal["in", "out"]


def capabilities() -> dict[str, bool]:
    """What this kernel and CPU offer the engine, by name."""
    return _esp_core.capabilities()


class EspCoreDataPlane:
    """See `hipgw.dataplane.backend.DataPlane` for what each method does."""

    def __init__(self) -> None:
        self._engine = _esp_core.Engine()

    def fileno(self) -> int:
        return self._engine.fileno()

    def drain_events(self) -> list[DataPlaneEvent]:
        return [_event(event) for event in self._engine.drain_events()]

    def add_udp_socket(self, fd: int, *, gso: bool = True, gro: bool = True) -> None:
        self._engine.add_udp_socket(fd, gso=gso, gro=gro)

    def add_esp_socket(self, fd: int) -> None:
        self._engine.add_esp_socket(fd)

    def set_tun(
        self,
        fd: int,
        *,
        mtu: int,
        local_hit: IPv6Address,
        local_lsi: IPv4Address,
        vnet_hdr: bool,
        copy_dscp: bool = True,
        ecn: bool = True,
        second_hit: IPv6Address | None = None,
    ) -> None:
        self._engine.set_tun(
            fd,
            mtu=mtu,
            local_hit=local_hit.packed,
            local_lsi=local_lsi.packed,
            vnet_hdr=vnet_hdr,
            copy_dscp=copy_dscp,
            ecn=ecn,
            second_hit=None if second_hit is None else second_hit.packed,
        )

    def add_tap(
        self,
        fd: int,
        *,
        segment: int,
        mtu: int,
        mss_clamp: bool,
        vnet_hdr: bool,
        mac_limit: int = DEFAULT_MAC_LIMIT,
        mac_age_s: float = DEFAULT_MAC_AGE_S,
        copy_dscp: bool = True,
        ecn: bool = True,
    ) -> None:
        self._engine.add_tap(
            fd,
            segment=segment,
            mtu=mtu,
            mss_clamp=mss_clamp,
            vnet_hdr=vnet_hdr,
            mac_limit=mac_limit,
            mac_age_s=mac_age_s,
            copy_dscp=copy_dscp,
            ecn=ecn,
        )

    def set_lan(self, segment: int, settings: LanSettings, mac: str) -> None:
        """Forward by configured owners beside learning; before `start`.

        *mac*: of the segment's TAP, as `02:00:00:00:00:01`. Raises DataPlaneError.
        """
        hello = settings.hello
        self._engine.set_lan(
            segment,
            local=[address.packed for address in settings.local],
            local_default=settings.local_default,
            peers=[
                (
                    [hit.packed for hit in peer.hits],
                    [address.packed for address in peer.addresses],
                    peer.default,
                )
                for peer in settings.peers
            ],
            all_static=settings.all_static,
            source_filter=settings.source_filter,
            group=GROUP_HIT.packed if settings.group else None,
            hello_hit=None if hello is None else hello.hit.packed,
            hello_s=0 if hello is None else hello.interval_s,
            mac=bytes.fromhex(mac.replace(":", "")),
            standby=hello is not None and hello.standby,
        )

    def say_hello(self, segment: int) -> None:
        self._engine.say_hello(segment)

    def announce_macs(self, segment: int) -> int:
        return self._engine.announce_macs(segment)

    def election(self, segment: int) -> ElectionState:
        state = self._engine.election(segment)
        winner = None if state["winner"] is None else IPv6Address(state["winner"])
        return ElectionState(state["passive"], winner, state["heard"])

    def pulse(self) -> Pulse:
        return Pulse(*self._engine.pulse())

    def add_relay_socket(self, fd: int) -> None:
        self._engine.add_relay_socket(fd)

    def open_relay_port(self, *, version: int, port: int, octets_per_s: int = 0) -> None:
        self._engine.open_relay_port(v6=version == 6, port=port, octets_per_s=octets_per_s)

    def close_relay_port(self, *, version: int, port: int) -> None:
        self._engine.close_relay_port(v6=version == 6, port=port)

    def set_rendezvous(self, *, per_source: int, per_client: int) -> None:
        self._engine.set_rendezvous(per_source=per_source, per_client=per_client)

    def add_rendezvous_client(
        self,
        *,
        hit: IPv6Address,
        local: IPAddress,
        local_port: int,
        remote: IPAddress,
        remote_port: int,
        mac: str,
        key: bytes,
        tells_ports: bool,
        remaining_s: float,
    ) -> None:
        self._engine.add_rendezvous_client(
            hit=hit.packed,
            local=local.packed,
            local_port=local_port,
            remote=remote.packed,
            remote_port=remote_port,
            mac=mac,
            key=key,
            tells_ports=tells_ports,
            remaining_ms=int(1000 * max(remaining_s, 0.0)),
        )

    def remove_rendezvous_client(self, hit: IPv6Address) -> None:
        self._engine.remove_rendezvous_client(hit.packed)

    def permit_peer(
        self,
        *,
        port: int,
        local: IPAddress,
        client: IPAddress,
        client_port: int,
        peer: IPAddress,
        peer_port: int,
        outbound_spi: int,
        inbound_spi: int,
    ) -> None:
        self._engine.permit_peer(
            port=port,
            local=local.packed,
            client=client.packed,
            client_port=client_port,
            peer=peer.packed,
            peer_port=peer_port,
            outbound_spi=outbound_spi,
            inbound_spi=inbound_spi,
        )

    def revoke_peer(
        self,
        *,
        port: int,
        local: IPAddress,
        client: IPAddress,
        client_port: int,
        peer: IPAddress,
        peer_port: int,
        outbound_spi: int,
        inbound_spi: int,
    ) -> None:
        self._engine.revoke_peer(
            port=port,
            local=local.packed,
            client=client.packed,
            client_port=client_port,
            peer=peer.packed,
            peer_port=peer_port,
            outbound_spi=outbound_spi,
            inbound_spi=inbound_spi,
        )

    def start(self, *, busy_poll_us: int = 0, realtime: bool = False) -> None:
        self._engine.start(busy_poll_us=busy_poll_us, realtime=realtime)

    def stop(self) -> None:
        self._engine.stop()

    def add_sa(
        self,
        *,
        direction: str,
        spi: int,
        suite: int,
        encryption_key: bytes,
        authentication_key: bytes,
        local_hit: IPv6Address,
        peer_hit: IPv6Address,
        local: IPAddress | None,
        remote: IPAddress,
        udp: bool,
        local_port: int,
        remote_port: int,
        segment: int = 0,
        path_mtu: int = 1500,
        replay_window: int = DEFAULT_REPLAY_WINDOW,
        interface: int = 0,
        verified: bool = True,
        format: EspFormat = DEFAULT_ESP_FORMAT,
        wire_spi: int = 0,
    ) -> None:
        self._engine.add_sa(
            direction=_direction(direction),
            spi=spi,
            suite=suite,
            encryption_key=encryption_key,
            authentication_key=authentication_key,
            local_hit=local_hit.packed,
            peer_hit=peer_hit.packed,
            local=None if local is None else local.packed,
            remote=remote.packed,
            udp=udp,
            local_port=local_port,
            remote_port=remote_port,
            segment=segment,
            path_mtu=path_mtu,
            replay_window=replay_window,
            interface=interface,
            verified=verified,
            esn=format.esn,
            icv_length=format.icv_length,
            null_iv=format.null_iv,
            alignment=format.alignment,
            frames=format.frames.value,
            replay=format.replay,
            begins_by_lsi=format.begins_by_lsi,
            wire_spi=wire_spi,
        )

    def move_sa(
        self,
        *,
        spi: int,
        peer_hit: IPv6Address,
        local: IPAddress | None,
        remote: IPAddress,
        udp: bool,
        local_port: int,
        remote_port: int,
        path_mtu: int = 1500,
        interface: int = 0,
        verified: bool = True,
        wire_spi: int = 0,
    ) -> None:
        self._engine.move_sa(
            spi=spi,
            peer_hit=peer_hit.packed,
            local=None if local is None else local.packed,
            remote=remote.packed,
            udp=udp,
            local_port=local_port,
            remote_port=remote_port,
            path_mtu=path_mtu,
            interface=interface,
            verified=verified,
            wire_spi=wire_spi,
        )

    def remove_sa(self, *, direction: str, spi: int, peer_hit: IPv6Address) -> None:
        self._engine.remove_sa(direction=_direction(direction), spi=spi, peer_hit=peer_hit.packed)

    def set_lsi(self, lsi: IPv4Address, peer_hit: IPv6Address) -> None:
        self._engine.set_lsi(lsi.packed, peer_hit.packed)

    def remove_lsi(self, lsi: IPv4Address) -> None:
        self._engine.remove_lsi(lsi.packed)

    def drop_held(self, destination: IPAddress) -> int:
        return self._engine.drop_held(destination.packed)

    def security_associations(self) -> list[SecurityAssociation]:
        return [_security_association(entry) for entry in self._engine.security_associations()]

    def mac_table(self, segment: int) -> list[LearnedMac]:
        return [
            LearnedMac(
                mac=entry["mac"].hex(":"),
                vlan=entry["vlan"],
                peer_hit=IPv6Address(entry["peer_hit"]),
                age_s=entry["age_s"],
            )
            for entry in self._engine.mac_table(segment)
        ]

    def flush_macs(self, segment: int, peer_hit: IPv6Address | None = None) -> int:
        return self._engine.flush_macs(segment, None if peer_hit is None else peer_hit.packed)

    def statistics(self) -> DataPlaneStatistics:
        statistics = self._engine.statistics()
        return DataPlaneStatistics(
            drops=dict(zip(_esp_core.DROP_REASONS, statistics["drops"], strict=True)),
            counters=statistics["counters"],
        )


def _direction(name: str) -> Direction:
    if name not in ("in", "out"):
        raise DataPlaneError(f'direction is "in" or "out", not {name!r}')
    return cast(Direction, name)


def _event(event: "_esp_core.Event") -> DataPlaneEvent:
    if event["kind"] == "control":
        return ControlReceived(
            data=event["data"],
            local=ip_address(event["local"]),
            remote=ip_address(event["remote"]),
            local_port=event["local_port"],
            remote_port=event["remote_port"],
        )
    if event["kind"] == "stun":
        return StunReceived(
            data=event["data"],
            local=ip_address(event["local"]),
            remote=ip_address(event["remote"]),
            local_port=event["local_port"],
            remote_port=event["remote_port"],
        )
    if event["kind"] == "acquire":
        return Acquire(ip_address(event["destination"]))
    if event["kind"] == "first_data":
        return FirstData(event["spi"])
    if event["kind"] == "unknown_spi":
        return UnknownSpi(event["spi"], ip_address(event["remote"]), event["remote_port"])
    if event["kind"] == "source_changed":
        return SourceChanged(
            spi=event["spi"],
            local=ip_address(event["local"]),
            local_port=event["local_port"],
            remote=ip_address(event["remote"]),
            remote_port=event["remote_port"],
            udp=event["udp"],
        )
    return Fatal(event["message"])


def _security_association(entry: "_esp_core.SaStatistics") -> SecurityAssociation:
    return SecurityAssociation(
        spi=entry["spi"],
        direction=entry["direction"],
        suite=entry["suite"],
        local_hit=IPv6Address(entry["local_hit"]),
        peer_hit=IPv6Address(entry["peer_hit"]),
        local=ip_address(entry["local"]) if entry["local"] else None,
        remote=ip_address(entry["remote"]),
        local_port=entry["local_port"],
        remote_port=entry["remote_port"],
        udp=entry["udp"],
        packets=entry["packets"],
        bytes=entry["bytes"],
        sequence=entry["sequence"],
        replayed=entry["replayed"],
        auth_failed=entry["auth_failed"],
        last_used_s=entry["last_used_s"],
        lost=entry["lost"],
        verified=entry["verified"],
    )
