"""`[endbox]`: the endbox role."""

from ipaddress import IPv4Address
from typing import Annotated, Self

from pydantic import Field, model_validator

from hipgw.config.consistency import check_endbox
from hipgw.config.fields import (
    FilePath,
    Integer,
    InterfaceName,
    LegacyNode,
    MachinePair,
    MulticastGroup,
    NoRepeats,
    Number,
    PeerName,
    Switch,
)
from hipgw.config.names import ElectionExtent, EndboxMode
from hipgw.config.tables.base import OCTETS, SECONDS, Table


class EndboxConfig(Table):
    """The endbox role: the LAN behind this machine and those behind its peers become one.

    The table's presence turns the role on.
    """

    interface: InterfaceName = Field(
        default="hipgw0", description="The TAP interface that carries Ethernet to the peers."
    )
    bridge: InterfaceName = Field(
        default="br-hipgw",
        description="The bridge that joins the TAP interface with the ports; made if it is not "
        "there, and then removed again on stop.",
    )
    ports: Annotated[tuple[InterfaceName, ...], NoRepeats] = Field(
        default=(),
        max_length=64,
        description="LAN interfaces to put into the bridge. They must not carry the route to the "
        "peers.",
    )
    peers: Annotated[tuple[PeerName, ...], NoRepeats] | None = Field(
        default=None,
        description="Names of the peers that share the LAN; default: every configured peer "
        "that is not named as a relay.",
    )
    mss_clamp: Switch = Field(
        default=True,
        description="Lower the MSS of TCP connections, so that their packets need no fragments.",
    )
    mtu: Integer = Field(
        default=1500,
        ge=576,
        le=9216,
        json_schema_extra=OCTETS,
        description="MTU of the LAN; the same at every site. Frames that are too large for the "
        "path are carried in fragments. The ports need at least as much.",
    )
    mac_limit: Integer = Field(
        default=65536,
        ge=16,
        le=1048576,
        json_schema_extra={"unit": "addresses"},
        description="Most MAC addresses learned; further ones are flooded.",
    )
    mac_age_s: Number = Field(
        default=300.0,
        ge=1.0,
        le=86400.0,
        json_schema_extra=SECONDS,
        description="A MAC address that was silent for this long is forgotten.",
    )
    mode: EndboxMode = Field(
        default=EndboxMode.LEARNING,
        description="How it is known behind which endbox a host is: `learning` looks at the MAC "
        "addresses of frames, as a switch does, except for peers with `legacy_nodes` or of "
        "OpenHIP; `static` believes only the `legacy_nodes` of all, as OpenHIP does, and carries "
        "IPv4 and ARP alone.",
    )
    legacy_nodes: Annotated[tuple[LegacyNode, ...], NoRepeats] = Field(
        default=(),
        max_length=4096,
        title="IPv4 address",
        description="IPv4 addresses of the hosts on the LAN here: nobody else may send to peers "
        "with `legacy_nodes`. `0.0.0.0` is the same as `default_endbox`. Without any, every host "
        "may that has no address of a peer's; in `static` mode nobody may.",
    )
    default_endbox: Switch = Field(
        default=False,
        description="Peers send here what is for IPv4 addresses that no endbox lists; hosts here "
        "may have any such address.",
    )
    source_filter: Switch = Field(
        default=True,
        description="Drop what comes from a peer with a source address that is listed for another "
        "endbox, or, if the peer has `legacy_nodes`, that is not listed for it. Off: believe "
        "everybody, as OpenHIP does.",
    )
    allowed_pairs: Annotated[tuple[MachinePair, ...], NoRepeats] | None = Field(
        default=None,
        max_length=65536,
        title="list of two machines",
        description="Which machines may exchange frames: pairs of HITs, names of peers, or "
        '`"self"`, in either order. Pairs of others are passed over, so that all may have the '
        "same list. Who is in no pair with this machine is not called and not answered, unless "
        "for the host role. Default: all endboxes.",
    )
    hello_s: Integer = Field(
        default=0,
        ge=0,
        le=300,
        json_schema_extra=SECONDS,
        description="With several endboxes on one LAN: how often this one says on it that it is "
        "there, as OpenHIP does; who has the smallest HIT is elected to deliver. 0: no election.",
    )
    election: ElectionExtent | None = Field(
        default=None,
        description="What is left to the elected endbox: delivering `multicast` and broadcast, as "
        "OpenHIP has it, or `everything` from and to peers whose hosts are learned. Default: "
        "`everything`, or `multicast` if `mode` is `static`. All endboxes of a LAN need the same.",
    )
    heartbeat_s: Number = Field(
        default=0.0,
        ge=0.0,
        le=3600.0,
        json_schema_extra=SECONDS,
        description="How often the heartbeat files are touched while all is well, for a watchdog "
        "to look at; 0: never. Else at least 0.1.",
    )
    heartbeat_dir: FilePath | None = Field(
        default=None,
        description="Folder of the heartbeat files `heartbeat.main`, `.output` and `.input`; "
        "default: `daemon.state_dir`.",
    )
    multicast_group: MulticastGroup | None = Field(
        default=None,
        title="IPv4 multicast group",
        description="Send IPv4 multicast of the LAN once, to this group of the underlay, in place "
        "of once to each peer with `legacy_nodes`. All members have one key for ever, 3DES, and "
        "no protection against replay: only for OpenHIP, and where that is no harm.",
    )
    multicast_spi: Integer | None = Field(
        default=None,
        ge=256,
        le=0xFFFFFFFF,
        description="The SPI of what is sent to `multicast_group`, the same for all.",
    )
    multicast_spi_swapped: Switch = Field(
        default=False,
        description="Reverse the octets of `multicast_spi`, as OpenHIP does on little-endian "
        "machines: so the same number can be written here as in its hip.conf.",
    )
    multicast_key: FilePath | None = Field(
        default=None,
        description="File with the key of `multicast_group`, 24 octets in hexadecimal, readable "
        "by its owner only.",
    )

    @property
    def nodes(self) -> tuple[IPv4Address, ...]:
        """The hosts here that are listed."""
        return tuple(node for node in self.legacy_nodes if int(node))

    @property
    def is_default_endbox(self) -> bool:
        """Whether it takes what is for addresses that no endbox lists."""
        return self.default_endbox or len(self.nodes) < len(self.legacy_nodes)

    @property
    def election_extent(self) -> ElectionExtent:
        """What is left to the elected endbox."""
        if self.election is not None:
            return self.election
        static = self.mode is EndboxMode.STATIC
        return ElectionExtent.MULTICAST if static else ElectionExtent.EVERYTHING

    @property
    def wire_multicast_spi(self) -> int | None:
        """The SPI of the group as it is sent."""
        spi = self.multicast_spi
        if spi is None or not self.multicast_spi_swapped:
            return spi
        return int.from_bytes(spi.to_bytes(4, "little"))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_endbox(self)
        return self
