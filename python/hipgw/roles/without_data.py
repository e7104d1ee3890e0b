"""Security associations of a machine that carries no data of its own: there are none."""

from ipaddress import IPv6Address

from hipgw.protocol.effects import InstallSA, MoveSA, PathMtuChanged, RemoveSA
from hipgw.protocol.path import Path
from hipgw.roles.security_associations import PathMtu


class WithoutData:
    """Takes the place of `SecurityAssociations`, and leaves the data plane alone.

    A rendezvous server agrees on ESP keys with each of very many clients, as every base exchange
    does, and nobody will ever use them: packets that came by them would lead nowhere.
    """

    def known_mtu(self, _path: Path) -> int:
        """Nothing is sent."""
        return 0

    def path_mtu(self, _peer_hit: IPv6Address) -> PathMtu | None:
        """There is no security association."""
        return None

    def set_mtu(self, _effect: PathMtuChanged) -> None:
        """Nothing to be done, as with all that follows."""

    def pin(self) -> None:
        """…"""

    def install(self, _effect: InstallSA) -> None:
        """…"""

    def move(self, _effect: MoveSA) -> None:
        """…"""

    def remove(self, _effect: RemoveSA) -> None:
        """…"""
