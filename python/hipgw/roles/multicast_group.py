"""A static multicast security association: one packet for all, with a key that all have for ever.

OpenHIP's endboxes carry the multicast of their LANs so, if told to. Every member sends with the
same SPI and the same key, so nobody can tell who sent a packet, nor whether it came before: whoever
records one can repeat it as long as the key is in use. Only static peers take part.
"""

import logging
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from hipgw.dataplane.backend import DataPlane
from hipgw.dataplane.lan import GROUP_HIT
from hipgw.errors import HipgwError
from hipgw.identity.esp_format import EspFormat, FrameFormat
from hipgw.identity.esp_suites import esp_suite

_log = logging.getLogger(__name__)

SUITE = 2
"""3DES-CBC with HMAC-SHA1-96 (RFC 5202 §5.1.2): OpenHIP has no other here."""
FORMAT = EspFormat(esn=False, replay=False, frames=FrameFormat.ETHERNET)
KEY_OCTETS = esp_suite(SUITE).encryption_key_length
_AUTHENTICATION_OCTETS = esp_suite(SUITE).authentication_key_length
_LEAST_WINDOW = 64


class Membership(Protocol):
    """How to be in the group on an interface."""

    def join(self, local: IPv4Address) -> int:
        """Be in the group where this own address is, and nowhere else; returns the interface.

        Raises PlatformError.
        """


class MulticastGroup:
    """Keeps the security associations with the group on the own address that is the best."""

    def __init__(
        self,
        dataplane: DataPlane,
        membership: Membership,
        *,
        segment: int,
        local_hit: IPv6Address,
        group: IPv4Address,
        spi: int,
        key: bytes,
        path_mtu: int,
    ) -> None:
        """*key*: `KEY_OCTETS` octets, of which the first ones also authenticate."""
        self._dataplane = dataplane
        self._membership = membership
        self._segment = segment
        self._local_hit = local_hit
        self.group = group
        self.spi = spi
        self._key = key
        self._path_mtu = path_mtu
        self._installed = False
        self.local: IPv4Address | None = None
        """Own address that is sent from."""

    def addresses_changed(self, addresses: tuple[IPv4Address | IPv6Address, ...]) -> None:
        """Own addresses, the best one first. What cannot be done is logged."""
        local = next((a for a in addresses if isinstance(a, IPv4Address)), None)
        if local is None or local == self.local:
            return
        try:
            interface = self._membership.join(local)
            self._send_from(local, interface)
        except HipgwError as error:
            _log.warning("the multicast group is out of reach: %s", error)
            return
        self.local = local
        _log.info("in the multicast group", extra={"group": str(self.group), "local": str(local)})

    def _send_from(self, local: IPv4Address, interface: int) -> None:
        if self._installed:
            self._dataplane.move_sa(
                spi=self.spi,
                peer_hit=GROUP_HIT,
                local=local,
                remote=self.group,
                udp=False,
                local_port=0,
                remote_port=0,
                path_mtu=self._path_mtu,
                interface=interface,
            )
            return
        for direction in ("in", "out"):
            self._dataplane.add_sa(
                direction=direction,
                spi=self.spi,
                suite=SUITE,
                encryption_key=self._key,
                authentication_key=self._key[:_AUTHENTICATION_OCTETS],
                local_hit=self._local_hit,
                peer_hit=GROUP_HIT,
                local=local,
                remote=self.group,
                udp=False,
                local_port=0,
                remote_port=0,
                segment=self._segment,
                path_mtu=self._path_mtu,
                replay_window=_LEAST_WINDOW,
                interface=interface,
                format=FORMAT,
            )
        self._installed = True
