"""Who may associate with this machine and exchange frames with it, as it stands now.

The configuration says so at first; what a fleet's directory adds may change at any time. Whoever
needs to know asks here whenever it matters, and keeps nothing.
"""

from collections.abc import Collection
from ipaddress import IPv6Address

from hipgw.config.schema import Config, PeerConfig
from hipgw.daemon.endbox import allowed_peers


class Membership:
    """The peers of the configuration and of the fleet, and what each may do."""

    def __init__(self, config: Config, own_hits: Collection[IPv6Address]) -> None:
        self._own_hits = tuple(own_hits)
        # Who may exchange no frames is answered only for what else this machine is to it.
        self._only_endbox = not set(config.roles) - {"endbox"}
        self._barred: frozenset[IPv6Address] = frozenset()
        self._set(config)

    def change(self, config: Config, barred: Collection[IPv6Address]) -> None:
        """From now on these peers are known; *barred* may not associate, whatever else is said."""
        self._barred = frozenset(barred)
        self._set(config)

    @property
    def config(self) -> Config:
        """The configuration, with the fleet's peers as if they stood in it."""
        return self._config

    @property
    def endboxes(self) -> tuple[PeerConfig, ...]:
        """Those that this machine may exchange frames with."""
        return self._endboxes

    @property
    def endbox_names(self) -> frozenset[str]:
        """Their names."""
        return self._endbox_names

    def is_endbox(self, hit: IPv6Address) -> bool:
        """Whether frames may be exchanged with the peer that has this HIT."""
        return hit in self._endbox_hits

    def has_no_pair(self, name: str) -> bool:
        """Whether `endbox.allowed_pairs` keeps a peer out of the LAN."""
        return name in self._denied

    def may_associate(self, name: str) -> bool:
        """Whether a known peer is answered."""
        return not (self._only_endbox and name in self._denied)

    def is_barred(self, hit: IPv6Address) -> bool:
        """Whether the fleet's operator keeps this HIT out."""
        return hit in self._barred

    def relays(self, name: str) -> list[str]:
        """Names of the relays that a peer is called by."""
        return list(self._relays.get(name, ()))

    def _set(self, config: Config) -> None:
        self._config = config
        self._endboxes = allowed_peers(config, self._own_hits)
        self._endbox_names = frozenset(peer.name for peer in self._endboxes)
        self._endbox_hits = {hit for peer in self._endboxes for hit in peer.hits.values()}
        self._denied = frozenset(peer.name for peer in config.endbox_peers) - self._endbox_names
        self._relays = {peer.name: peer.relays for peer in config.peers if peer.relays}
