"""What the parts of naming are built of, without a daemon around them."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from hipgw.config.load import load
from hipgw.daemon.membership import Membership
from hipgw.daemon.naming import NamingServices, Surroundings
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.lsi import LsiTable
from hipgw.naming.peers import Peer, PeerDirectory
from hipgw.platform.journal import Journal

OWN = LocalIdentity.generate("ed25519")
OWN_LSI = IPv4Address("1.0.0.1")


def made_services(folder: Path, toml: str = "", peers: Sequence[Peer] = ()) -> NamingServices:
    """Those of a host with this configuration, whose state is in *folder*."""
    (folder / "key.pem").write_text("a key")
    file = folder / "hipgw.toml"
    file.write_text(
        f'[identity]\nkey_file = "key.pem"\n[host]\n{toml}\n[daemon]\nstate_dir = "{folder}"\n'
    )
    config = load(file)
    lsis = LsiTable()
    for peer in peers:
        lsis.assign(peer.hit, peer.lsi)
    return NamingServices(
        Surroundings(
            config=config,
            config_file=file,
            identities=(OWN,),
            directory=PeerDirectory(peers, lsis),
            own_lsi=OWN_LSI,
            journal=Journal(folder),
            roles=(),
            membership=Membership(config, [OWN.hit]),
            addresses=lambda: (),
        )
    )
