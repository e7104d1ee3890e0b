"""Keys by which a name server knows who changes its zones (TSIG, RFC 8945)."""

import base64
import binascii
import re
from dataclasses import dataclass, field

import dns.exception
import dns.name
import dns.tsig

from hipgw.errors import NamingError

_ALGORITHMS = {
    "hmac-sha224": dns.tsig.HMAC_SHA224,
    "hmac-sha256": dns.tsig.HMAC_SHA256,
    "hmac-sha384": dns.tsig.HMAC_SHA384,
    "hmac-sha512": dns.tsig.HMAC_SHA512,
}
"""Those with MD5 and SHA-1 are not to be used any more (RFC 8945 §6)."""

_COMMENT = re.compile(r"//[^\n]*|#[^\n]*|/\*.*?\*/", re.DOTALL)
_KEY = re.compile(r'\s*key\s+"?(?P<name>[^"\s{]+)"?\s*\{(?P<body>[^}]*)\}\s*;?\s*')
_STATEMENT = re.compile(r'\s*(algorithm|secret)\s+"?([^";\s]+)"?\s*;')
_HINT = "it is written as `tsig-keygen NAME` and `keymgr -t NAME` write it"


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A name, an algorithm and a secret, which is shown to nobody."""

    name: dns.name.Name
    algorithm: dns.name.Name
    secret: bytes = field(repr=False)

    @property
    def key(self) -> dns.tsig.Key:
        """For dnspython."""
        return dns.tsig.Key(self.name, self.secret, self.algorithm)


def parse_key(data: bytes) -> TsigKey:
    """Read a key as named.conf has it; NamingError, whose text quotes nothing of the file.

    `key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`
    """
    try:
        text = _COMMENT.sub("", data.decode("ascii"))
    except UnicodeError:
        raise NamingError("there is no TSIG key in it", hint=_HINT) from None
    match = _KEY.fullmatch(text)
    if match is None:
        raise NamingError("there is not one TSIG key in it", hint=_HINT)
    values = dict(_STATEMENT.findall(match["body"]))
    algorithm = _ALGORITHMS.get(values.get("algorithm", "").lower().rstrip("."))
    if algorithm is None:
        known = ", ".join(_ALGORITHMS)
        raise NamingError("its TSIG key has no usable algorithm", hint=f"usable are {known}")
    try:
        name = dns.name.from_text(match["name"])
        secret = base64.b64decode(values.get("secret", ""), validate=True)
    except (dns.exception.DNSException, UnicodeError, binascii.Error):
        raise NamingError("its TSIG key cannot be read", hint=_HINT) from None
    if not secret:
        raise NamingError("its TSIG key has no secret", hint=_HINT)
    return TsigKey(name, algorithm, secret)
