"""`[fleet]`: the directory that all machines of an operator have in common."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from hipgw.config.fields import (
    EtcdUrl,
    FilePath,
    FleetName,
    NoRepeats,
    OperatorKeyText,
    PeerName,
)
from hipgw.config.problems import InconsistentError, Problem
from hipgw.config.tables.base import Table

_ETCD_KEYS = (
    *("etcd_prefix", "etcd_ca", "etcd_certificate", "etcd_key"),
    *("etcd_user", "etcd_password"),
)


class FleetConfig(Table):
    """Peers, their names, policies and LANs from a directory that changes while hipgw runs.

    What stands in it is believed only as far as an operator has signed it; see docs/fleet.md.
    """

    name: FleetName = Field(
        default="fleet",
        description="The fleet's name, which its entries are signed for: an entry of another fleet "
        "is refused, even if it is signed by the same operator.",
    )
    operator_keys: Annotated[tuple[OperatorKeyText, ...], NoRepeats] = Field(
        min_length=1,
        max_length=16,
        title="public key",
        description="The public keys of those who may sign entries, as `hipgw fleet keygen` shows "
        "them.",
    )
    file: FilePath | None = Field(
        default=None,
        description="The directory as a TOML file, which is watched. This or `etcd`, or both: then "
        "the newest entry of a name counts, wherever it stands.",
    )
    etcd: Annotated[tuple[EtcdUrl, ...], NoRepeats] = Field(
        default=(),
        max_length=16,
        title="URL",
        description="The directory in etcd: members of the cluster, such as "
        "`http://192.0.2.1:2379`, in the order in which they are tried.",
    )
    etcd_prefix: str = Field(
        default="/hipgw/fleet/",
        min_length=1,
        max_length=255,
        description="What the keys begin with; the rest of each is a machine's name.",
    )
    etcd_ca: FilePath | None = Field(
        default=None,
        description="Certificates (PEM) of those who sign those of `https` members; default: the "
        "system's.",
    )
    etcd_certificate: FilePath | None = Field(
        default=None, description="This machine's certificate for `https` members (PEM)."
    )
    etcd_key: FilePath | None = Field(
        default=None, description="The private key of `etcd_certificate` (PEM)."
    )
    etcd_user: str | None = Field(
        default=None, min_length=1, max_length=255, description="The user to be towards etcd."
    )
    etcd_password: FilePath | None = Field(
        default=None,
        description="File with the password of `etcd_user`, readable by its owner only.",
    )
    lan: PeerName | None = Field(
        default=None,
        description="The LAN that this machine's `[endbox]` shares with those who are in it as "
        "well; default: the first one in this machine's own entry, by the HIT of which it is "
        "found.",
    )
    state_dir: FilePath = Field(
        default=Path("/var/lib/hipgw/fleet"),
        description="A folder for what was known last, one file for each HIT of this machine: for "
        "when the directory is away, and for old entries to be told from new ones. It has to "
        "outlast a restart of the machine.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if self.file is None and not self.etcd:
            problems.append(Problem("file", "is missing", "name a TOML file, or members of `etcd`"))
        if not self.etcd:
            problems += [
                Problem(key, "is set without etcd", "leave it out")
                for key in _ETCD_KEYS
                if key in self.model_fields_set
            ]
        pairs = (("etcd_certificate", "etcd_key"), ("etcd_user", "etcd_password"))
        for one, other in pairs:
            for here, there in ((one, other), (other, one)):
                if getattr(self, here) is None and getattr(self, there) is not None:
                    problems.append(Problem(here, "is missing", f"{there} needs it"))
        if problems:
            raise InconsistentError(problems)
        return self
