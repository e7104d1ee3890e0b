"""Which class reads which parameter type, by HIP version."""

from hipgw.wire.errors import UnknownCriticalParameterError
from hipgw.wire.parameters import (
    base_exchange,
    esp,
    mobility,
    nat,
    private,
    registration,
    spinat,
    v1,
)
from hipgw.wire.parameters.base import Parameter
from hipgw.wire.parameters.unknown import UnknownParameter

_COMMON: tuple[type[Parameter], ...] = (
    *(base_exchange.Encrypted, base_exchange.Seq, base_exchange.Ack),
    *(base_exchange.Notification, base_exchange.Cert),
    *(base_exchange.EchoRequestSigned, base_exchange.EchoResponseSigned),
    *(base_exchange.EchoRequestUnsigned, base_exchange.EchoResponseUnsigned),
    *(base_exchange.HipMac, base_exchange.HipMac2),
    *(esp.EspInfo, esp.EspTransform, mobility.LocatorSet),
    *(registration.RegInfo, registration.RegRequest, registration.RegResponse),
    *(registration.RegFailed, registration.From, registration.RvsHmac, registration.ViaRvs),
    *(nat.NatTraversalMode, nat.TransactionPacing, nat.RegFrom, nat.RelayFrom, nat.RelayTo),
    *(nat.RelayHmac, nat.RelayedAddress, nat.MappedAddress, nat.PeerPermission),
    *(nat.CandidatePriority, nat.Nominate),
    private.Padding,
    *(spinat.EspInfoNoSig, spinat.EspInfoNoSigOptional),
    *(spinat.ProxyTicket, spinat.AuthTicket, spinat.UntoldPeers),
)
"""The same in both versions."""

_V1: tuple[type[Parameter], ...] = (
    *_COMMON,
    *(v1.R1CounterV1, v1.PuzzleV1, v1.SolutionV1, v1.DiffieHellmanV1, v1.HipTransform),
    *(v1.HostIdV1, v1.HipSignatureV1, v1.HipSignature2V1),
)

_V2: tuple[type[Parameter], ...] = (
    *_COMMON,
    *(base_exchange.R1Counter, base_exchange.Puzzle, base_exchange.Solution),
    *(base_exchange.DhGroupList, base_exchange.DiffieHellman, base_exchange.HipCipher),
    *(base_exchange.HostId, base_exchange.HitSuiteList, base_exchange.TransportFormatList),
    *(base_exchange.HipSignature, base_exchange.HipSignature2),
)

PARAMETERS: dict[int, dict[int, type[Parameter]]] = {
    1: {kind.TYPE: kind for kind in _V1},
    2: {kind.TYPE: kind for kind in _V2},
}
"""Version -> type -> class."""


def parse_parameter(version: int, number: int, contents: bytes) -> Parameter:
    """Read one parameter.

    An unknown one is kept if its type is even; an odd type means that the packet must not be used
    without understanding it: UnknownCriticalParameterError (RFC 7401 §5.2.1).
    """
    kind = PARAMETERS[version].get(number)
    if kind is not None:
        return kind.parse(contents)
    if number & 1:
        raise UnknownCriticalParameterError(number)
    return UnknownParameter(number, contents)


def name_of(version: int, number: int) -> str:
    """What to call a parameter type in messages."""
    kind = PARAMETERS.get(version, {}).get(number)
    return kind.__name__ if kind else f"parameter {number}"
