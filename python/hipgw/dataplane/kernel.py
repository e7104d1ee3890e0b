"""The data plane that is the kernel's own ESP (XFRM), for the host role.

The kernel seals and opens packets by security associations in BEET mode; this room installs them,
with one policy for each direction between the own HIT and a peer's. The HITs stand on the host
role's TUN, so that programs can bind to them and routes lead there, but a packet that a policy
matches never gets to it. What comes out of the TUN is for a peer without a policy: it is held, told
as an `Acquire`, and sent again once there is one. So nothing leaves in the clear at any time.

There are no threads: all that may be readable (HIP packets in UDP, the TUN, the kernel's events, a
timer) is joined in one epoll descriptor, which the event loop watches, and read in `drain_events`.

What the kernel cannot do, it does not do here: LSIs (one BEET association has one pair of inner
addresses), Ethernet, replay windows above 4096 packets, HIPv1 with its suites and a HIT of its own,
and packets that look otherwise than RFC 7402 has it.
"""

import contextlib
import logging
import os
import select
import socket
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from hipgw.dataplane.backend import (
    DEFAULT_MAC_AGE_S,
    DEFAULT_MAC_LIMIT,
    DEFAULT_REPLAY_WINDOW,
    Acquire,
    ControlReceived,
    DataPlaneEvent,
    DataPlaneStatistics,
    FirstData,
    IPAddress,
    LearnedMac,
    SecurityAssociation,
    SourceChanged,
)
from hipgw.dataplane.kernel_sas import FIRST_LOOK_S, KernelSas, Place, Sa, refusals
from hipgw.dataplane.kernel_suites import algorithms
from hipgw.dataplane.kernel_tun import KernelTun
from hipgw.errors import DataPlaneError
from hipgw.identity.esp_format import DEFAULT_ESP_FORMAT, EspFormat
from hipgw.identity.hit import HIT_PREFIX
from hipgw.platform import routes, sockets, xfrm, xfrm_values
from hipgw.platform.timer_fd import TimerFd

BATCH = 64
"""HIP packets read from a socket before others get their turn."""
_STATISTICS = Path("/proc/net/xfrm_stat")

_log = logging.getLogger(__name__)


class KernelDataPlane:
    """See `hipgw.dataplane.backend.DataPlane` for what each method does."""

    def __init__(self) -> None:
        """Raises PlatformError if the kernel has no XFRM."""
        self._resources = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            self._kernel = undo.enter_context(contextlib.closing(xfrm.Xfrm()))
            self._kernel_events = undo.enter_context(contextlib.closing(xfrm.XfrmEvents()))
            self._timer = undo.enter_context(contextlib.closing(TimerFd()))
            self._epoll = undo.enter_context(contextlib.closing(select.epoll()))
            for readable in (self._kernel_events, self._timer):
                self._epoll.register(readable, select.EPOLLIN)
            self._resources = undo.pop_all()
        self._udp: dict[int, socket.socket] = {}
        self._encapsulates: set[int] = set()
        """IP versions for which the kernel takes ESP out of UDP."""
        self._sas: KernelSas | None = None
        self._tun: KernelTun | None = None
        self._copy_dscp = self._ecn = True
        self._events: list[DataPlaneEvent] = []
        self._control_packets = 0

    # -- events ------------------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._epoll.fileno()

    def drain_events(self) -> list[DataPlaneEvent]:
        now = time.monotonic()
        for fd, _ in self._epoll.poll(0):
            if fd == self._timer.fileno():
                self._timer.acknowledge()
                self._look_for_data(now)
            elif fd == self._kernel_events.fileno():
                self._read_kernel_events()
            elif fd in self._udp:
                self._read_udp(self._udp[fd])
            elif self._tun is not None:
                self._events += [Acquire(hit) for hit in self._tun.read(now)]
        events, self._events = self._events, []
        return events

    # -- before start ------------------------------------------------------------------------------

    def add_udp_socket(self, fd: int, *, gso: bool = True, gro: bool = True) -> None:  # noqa: ARG002
        own = self._resources.enter_context(socket.socket(fileno=os.dup(fd)))
        version = 4 if own.family == socket.AF_INET else 6
        try:
            sockets.take_esp_out(own)
            self._encapsulates.add(version)
        except OSError as error:
            # IPv6 has it since Linux 5.8. HIP goes by this socket all the same.
            _log.warning(
                "the kernel does not take ESP out of UDP",
                extra={"ip_version": version, "reason": error.strerror},
            )
        self._udp[own.fileno()] = own
        self._epoll.register(own, select.EPOLLIN)

    def add_esp_socket(self, fd: int) -> None:
        """Nothing: the kernel takes ESP before any socket gets it."""

    def set_tun(
        self,
        fd: int,
        *,
        mtu: int,  # noqa: ARG002
        local_hit: IPv6Address,
        local_lsi: IPv4Address,  # noqa: ARG002
        vnet_hdr: bool,
        copy_dscp: bool = True,
        ecn: bool = True,
        second_hit: IPv6Address | None = None,
    ) -> None:
        if vnet_hdr:
            raise DataPlaneError("the kernel's data plane reads a TUN without offload headers")
        if second_hit is not None:
            raise DataPlaneError(
                "the kernel's data plane has one HIT", hint='two need `esp.backend = "engine"`'
            )
        self._copy_dscp, self._ecn = copy_dscp, ecn
        interface = routes.interface_index(local_hit)
        self._sas = KernelSas(self._kernel, local_hit, interface)
        self._resources.callback(self._sas.clear)
        with refusals("the TUN"):
            tun = KernelTun(fd, self._sas)
        self._tun = self._resources.enter_context(contextlib.closing(tun))
        self._epoll.register(tun, select.EPOLLIN)

    def add_tap(
        self,
        fd: int,  # noqa: ARG002
        *,
        segment: int,  # noqa: ARG002
        mtu: int,  # noqa: ARG002
        mss_clamp: bool,  # noqa: ARG002
        vnet_hdr: bool,  # noqa: ARG002
        mac_limit: int = DEFAULT_MAC_LIMIT,  # noqa: ARG002
        mac_age_s: float = DEFAULT_MAC_AGE_S,  # noqa: ARG002
        copy_dscp: bool = True,  # noqa: ARG002
        ecn: bool = True,  # noqa: ARG002
    ) -> None:
        raise DataPlaneError(
            "the kernel carries no Ethernet", hint='endboxes need `esp.backend = "engine"`'
        )

    def start(self, *, busy_poll_us: int = 0, realtime: bool = False) -> None:
        """The kernel carries packets as soon as it is told how."""

    def stop(self) -> None:
        self._resources.close()
        self._sas = self._tun = None
        self._udp.clear()

    # -- security associations ---------------------------------------------------------------------

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
        interface: int = 0,  # noqa: ARG002
        verified: bool = True,
        format: EspFormat = DEFAULT_ESP_FORMAT,
        wire_spi: int = 0,
    ) -> None:
        sas, tun = self._host()
        _refuse_wire_spi(spi, wire_spi)
        if direction not in ("in", "out"):
            raise DataPlaneError(f'direction is "in" or "out", not {direction!r}')
        if segment:
            raise DataPlaneError("the kernel carries no Ethernet")
        if replace(format, frames=DEFAULT_ESP_FORMAT.frames) != DEFAULT_ESP_FORMAT:
            raise DataPlaneError(
                "the kernel's data plane has no other format of ESP than that of RFC 7402",
                hint='this peer needs `esp.backend = "engine"`',
            )
        if local_hit != sas.local_hit:
            raise DataPlaneError(f"{local_hit} is not the HIT of this host")
        sa = Sa(
            direction=direction,
            spi=spi,
            suite=suite,
            local_hit=local_hit,
            peer_hit=peer_hit,
            place=self._place(local, remote, local_port, remote_port, udp=udp),
            key_digest=sas.digest(encryption_key, authentication_key),
            path_mtu=path_mtu,
            usable=verified,
        )
        sas.install(
            sa,
            algorithms(suite, encryption_key, authentication_key),
            replay_window=replay_window,
            copy_dscp=self._copy_dscp,
            ecn=self._ecn,
        )
        if sa.inbound:
            self._timer.set(FIRST_LOOK_S)
        elif sas.carries(peer_hit):
            tun.release(peer_hit, time.monotonic())

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
        interface: int = 0,  # noqa: ARG002
        verified: bool = True,
        wire_spi: int = 0,
    ) -> None:
        sas, tun = self._host()
        _refuse_wire_spi(spi, wire_spi)
        place = self._place(local, remote, local_port, remote_port, udp=udp)
        sas.move(spi, peer_hit, place, path_mtu, verified=verified)
        if sas.carries(peer_hit):
            tun.release(peer_hit, time.monotonic())

    def remove_sa(self, *, direction: str, spi: int, peer_hit: IPv6Address) -> None:
        if self._sas is not None:
            self._sas.remove(direction, spi, peer_hit)

    def set_lsi(self, lsi: IPv4Address, peer_hit: IPv6Address) -> None:
        """Nothing: the kernel carries no LSIs."""

    def remove_lsi(self, lsi: IPv4Address) -> None:
        """Nothing."""

    def drop_held(self, destination: IPAddress) -> int:
        return self._tun.drop(destination) if self._tun is not None else 0

    # -- what there is -----------------------------------------------------------------------------

    def security_associations(self) -> list[SecurityAssociation]:
        if self._sas is None or self._tun is None:
            return []
        now = time.monotonic()
        everything, heard = self._sas.count(now)
        self._tun.forget_old(now)
        if heard:
            self._events += [FirstData(sa.spi) for sa in heard]
            self._timer.set(0)
        return [sa.described(now) for sa in everything]

    def mac_table(self, segment: int) -> list[LearnedMac]:  # noqa: ARG002
        return []

    def flush_macs(self, segment: int, peer_hit: IPv6Address | None = None) -> int:  # noqa: ARG002
        return 0

    def statistics(self) -> DataPlaneStatistics:
        """Among the drops are those of the kernel in this network namespace, by its own names."""
        held = self._tun.counters() if self._tun is not None else {}
        drops = self._tun.drops() if self._tun is not None else {}
        return DataPlaneStatistics(
            drops={**drops, **_kernel_drops()},
            counters={"control_packets": self._control_packets, **held},
        )

    # -- inside ------------------------------------------------------------------------------------

    def _host(self) -> tuple[KernelSas, KernelTun]:
        if self._sas is None or self._tun is None:
            raise DataPlaneError("there is no interface with the HIT of this host")
        return self._sas, self._tun

    def _place(
        self,
        local: IPAddress | None,
        remote: IPAddress,
        local_port: int,
        remote_port: int,
        *,
        udp: bool,
    ) -> Place:
        if udp and remote.version not in self._encapsulates:
            raise DataPlaneError(
                f"this kernel has no ESP in UDP over IPv{remote.version}",
                hint='IPv6 has it since Linux 5.8; `transport = "raw"` needs none',
            )
        own = local if local is not None else routes.source_address(remote)
        if own is None:
            raise DataPlaneError(f"there is no route to {remote}")
        return Place(own, remote, udp, local_port, remote_port)

    def _read_udp(self, sock: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                packet = sockets.receive_udp(sock)
            except BlockingIOError:
                return
            except OSError as error:
                # An ICMP error of an earlier packet surfaces here; the socket goes on.
                _log.debug("UDP socket: %s", error)
                continue
            if packet is not None:
                self._control_packets += 1
                self._events.append(ControlReceived(*packet))

    def _read_kernel_events(self) -> None:
        for event in self._kernel_events.receive():
            match event:
                case xfrm_values.Acquired(destination=IPv6Address() as destination):
                    if destination in HIT_PREFIX:
                        self._events.append(Acquire(destination))
                case xfrm_values.Expired(spi=spi, reqid=reqid):
                    sa = self._sas.inbound(spi, reqid) if self._sas is not None else None
                    if self._sas is not None and sa is not None and self._sas.hear(sa):
                        self._events.append(FirstData(spi))
                case xfrm_values.Mapped(spi=spi, reqid=reqid):
                    sa = self._sas.inbound(spi, reqid) if self._sas is not None else None
                    if sa is not None:
                        own, port = sa.place.local, sa.place.local_port
                        self._events.append(
                            SourceChanged(spi, own, port, event.remote, event.remote_port, udp=True)
                        )
                case _:
                    pass

    def _look_for_data(self, now: float) -> None:
        if self._sas is not None:
            heard, again_s = self._sas.look(now)
            self._events += [FirstData(sa.spi) for sa in heard]
            if again_s is not None:
                self._timer.set(again_s)


def _kernel_drops() -> dict[str, int]:
    """/proc/net/xfrm_stat; empty where the kernel keeps none."""
    found = {}
    with contextlib.suppress(OSError):
        for line in _STATISTICS.read_text().splitlines():
            name, _, value = line.partition("\t")
            if value.strip().isdecimal():
                found[name.strip()] = int(value)
    return found


def _refuse_wire_spi(spi: int, wire_spi: int) -> None:
    """XFRM makes ICVs with what it puts on the wire, so that the peer would find them wrong."""
    if wire_spi not in (0, spi):
        raise DataPlaneError(
            "a mobile router has lent the peer another SPI, which the kernel cannot send with",
            hint='this peer needs `esp.backend = "engine"`',
        )
