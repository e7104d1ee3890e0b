"""`[identity]`, `[hip]` and `[hip.v1]`: who this machine is, and what it offers to peers."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from hipgw.config.consistency import check_hip_v1
from hipgw.config.fields import FilePath, Integer, NoRepeats, Number, Switch
from hipgw.config.names import (
    Accept,
    CompatName,
    DhGroupName,
    EspSuiteName,
    HipCipherName,
    HipVersionName,
    V1DhGroupName,
    V1SuiteName,
)
from hipgw.config.tables.base import SECONDS, Table
from hipgw.protocol.path import HIP_UDP_PORT, Transport


class IdentityConfig(Table):
    """Who this machine is."""

    key_file: FilePath = Field(
        description="The private key of the Host Identity, in PEM, readable by its owner only. "
        "`hipgw keygen` makes one. A relative path starts from the folder of this file.",
    )
    key_file_v1: FilePath | None = Field(
        default=None,
        description="The private key, RSA or DSA, that this machine has towards peers that speak "
        "HIP version 1; default: `key_file`, if that is RSA or DSA. One key has another HIT in "
        "each version.",
    )


class HipV1Config(Table):
    """HIP version 1 (RFC 5201, RFC 5202), for the peers that speak nothing newer.

    Its algorithms are old: SHA-1 throughout. What is not on by default is weaker still.
    """

    hip_suites: Annotated[tuple[V1SuiteName, ...], NoRepeats] = Field(
        default=(V1SuiteName.AES_128_CBC_SHA1,),
        min_length=1,
        description="Suites for HIP's own packets, the preferred one first (RFC 5201 §5.2.7).",
    )
    esp_suites: Annotated[tuple[V1SuiteName, ...], NoRepeats] = Field(
        default=(V1SuiteName.AES_128_CBC_SHA1,),
        min_length=1,
        description="Suites for the traffic, the preferred one first (RFC 5202 §5.1.2). Those with "
        "`NULL` encrypt nothing.",
    )
    dh_groups: Annotated[tuple[V1DhGroupName, ...], NoRepeats] = Field(
        default=(V1DhGroupName.MODP_1536, V1DhGroupName.MODP_3072),
        min_length=1,
        description="Diffie-Hellman groups, the preferred one first (RFC 5201 §5.2.6). `MODP-384` "
        "and `MODP-768` (OAKLEY well-known group 1) can be broken.",
    )
    compat: CompatName = Field(
        default=CompatName.OPENHIP,
        description="What is expected of version 1 peers that do not say otherwise: OpenHIP with "
        'its deviations, or what the RFCs say (`"none"`).',
    )
    weak_keys: Switch = Field(
        default=False,
        description="Accept RSA and DSA keys below 1024 bits, of peers and of this machine.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_hip_v1(self)
        return self


class HipConfig(Table):
    """The HIP protocol: what is offered to peers, and when to give up (RFC 7401)."""

    port: Integer = Field(
        default=HIP_UDP_PORT,
        ge=1,
        le=65535,
        description="Own UDP port for HIP and ESP (RFC 9028 §4.1).",
    )
    transport: Transport = Field(
        default=Transport.UDP,
        description="How peers are reached that do not say otherwise: HIP and ESP inside UDP, "
        "or `raw`, by IP protocols 139 and 50.",
    )
    versions: Annotated[tuple[HipVersionName, ...], NoRepeats] = Field(
        default=(HipVersionName.V2,),
        min_length=1,
        description="Versions of HIP, the preferred one first, for peers that do not say "
        'otherwise: `["v2", "v1"]` tries version 1 where version 2 is not answered. Whoever can '
        "suppress packets can then bring both sides down to version 1.",
    )
    v1: HipV1Config = Field(
        default_factory=HipV1Config, description="Version 1: the table `[hip.v1]`."
    )
    opportunistic: Switch = Field(
        default=False,
        description="Call machines of which the address alone is known, by `hipgw connect "
        "ADDRESS`, and answer those that call so (RFC 7401 §4.1.8). `accept` says who is welcome "
        "in both cases. Such a first contact is open to a man in the middle.",
    )
    accept: Accept = Field(
        default=Accept.PEERS,
        description="Whose base exchanges are answered: those of the configured `peers`, "
        "or of `any` machine, in one of `versions`.",
    )
    dh_groups: Annotated[tuple[DhGroupName, ...], NoRepeats] = Field(
        default=(
            DhGroupName.P_384,
            DhGroupName.P_256,
            DhGroupName.MODP_3072,
            DhGroupName.MODP_1536,
        ),
        min_length=1,
        description="Diffie-Hellman groups, the preferred one first (RFC 7401 §5.2.7).",
    )
    hip_ciphers: Annotated[tuple[HipCipherName, ...], NoRepeats] = Field(
        default=(HipCipherName.AES_256_CBC, HipCipherName.AES_128_CBC),
        min_length=1,
        description="Ciphers for secret parts of HIP packets, the preferred one first "
        "(RFC 7401 §5.2.8). `NULL` is for debugging: it hides nothing.",
    )
    esp_suites: Annotated[tuple[EspSuiteName, ...], NoRepeats] = Field(
        default=(
            EspSuiteName.AES_128_GCM_16,
            EspSuiteName.CHACHA20_POLY1305,
            EspSuiteName.AES_256_CBC_SHA256,
            EspSuiteName.AES_128_CBC_SHA256,
        ),
        min_length=1,
        description="ESP suites, the preferred one first (RFC 7402 §5.1.2). ChaCha20-Poly1305 has "
        "no number there and is only agreed with other hipgw machines. `NULL-SHA256` is for "
        "debugging: it encrypts nothing.",
    )
    puzzle_difficulty: Integer = Field(
        default=10,
        ge=0,
        le=26,
        json_schema_extra={"unit": "bits"},
        description="K of the puzzle that an initiator has to solve while this machine is idle; "
        "each bit doubles its work (RFC 7401 §4.1.2).",
    )
    puzzle_difficulty_max: Integer = Field(
        default=20,
        ge=0,
        le=26,
        json_schema_extra={"unit": "bits"},
        description="K of the puzzle at the highest load.",
    )
    retransmit_s: Number = Field(
        default=0.5,
        ge=0.05,
        le=30.0,
        json_schema_extra=SECONDS,
        description="Wait for an answer before the first retransmission; it doubles with each one.",
    )
    retries: Integer = Field(
        default=5, ge=1, le=20, description="Retransmissions before an exchange is given up."
    )
    idle_close_s: Number = Field(
        default=900.0,
        ge=10.0,
        le=604800.0,
        json_schema_extra=SECONDS,
        description="Unused Association Lifetime: an association without traffic for this long is "
        "closed (RFC 7401 §4.4.4). Those between endboxes are kept.",
    )
    keepalive_s: Number = Field(
        default=15.0,
        ge=0.0,
        le=3600.0,
        json_schema_extra=SECONDS,
        description="Silence on a path after which something is sent to keep it open in the NATs "
        "on the way (RFC 5770 §4.7, RFC 9028 §4.10); 0: never. Else at least 1.",
    )
