"""The three calls of OpenDHT's interface, in the order of parameters that OpenHIP has.

RFC 6537 §2 names the fields and leaves their order to OpenDHT, whose variant with secrets is called
`put_removable`.
"""

from dataclasses import dataclass
from typing import Self, TypeVar

from hipgw.naming.dht.limits import (
    HASH_LENGTH,
    KEY_LENGTH,
    PLACEMARK_LENGTH,
    SECRET_LENGTH_MAX,
    TTL_MAX,
    VALUE_LENGTH,
)
from hipgw.naming.dht.xmlrpc import Value, XmlRpcError

_HASH_NAME = "SHA"
_APPLICATION_LENGTH = 255

Field = TypeVar("Field", int, str, bytes)


@dataclass(frozen=True, slots=True)
class Put:
    """Store a value under a key."""

    METHOD = "put_removable"
    key: bytes
    value: bytes
    secret_hash: bytes
    """SHA-1 of what a later rm has to show; empty if nobody is to remove it."""
    ttl_s: int
    application: str

    @property
    def parameters(self) -> tuple[Value, ...]:
        """In the order of the call."""
        return (self.key, self.value, _HASH_NAME, self.secret_hash, self.ttl_s, self.application)

    @classmethod
    def parse(cls, parameters: tuple[object, ...]) -> Self:
        """Read the parameters of a call; raises XmlRpcError."""
        key, value, name, secret_hash, ttl_s, application = _count(parameters, 6)
        _hash_name(name)
        return cls(
            _key(key),
            _octets(value, "value", VALUE_LENGTH),
            _hash(secret_hash, "secret_hash", optional=True),
            _ttl(ttl_s),
            _application(application),
        )


@dataclass(frozen=True, slots=True)
class Get:
    """Ask for the values under a key."""

    METHOD = "get"
    key: bytes
    values_max: int
    placemark: bytes
    """Empty, or what the last answer told to go on with."""
    application: str

    @property
    def parameters(self) -> tuple[Value, ...]:
        """In the order of the call."""
        return (self.key, self.values_max, self.placemark, self.application)

    @classmethod
    def parse(cls, parameters: tuple[object, ...]) -> Self:
        """Read the parameters of a call; raises XmlRpcError."""
        key, values_max, placemark, application = _count(parameters, 4)
        return cls(
            _key(key),
            max(1, _of(int, values_max, "maxvals")),
            _octets(placemark, "placemark", PLACEMARK_LENGTH),
            _application(application),
        )


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a value by showing the secret that it was stored with."""

    METHOD = "rm"
    key: bytes
    value_hash: bytes
    """SHA-1 of the value."""
    secret: bytes
    ttl_s: int
    """How long the removal is to last: at least what is left of the value's time."""
    application: str

    @property
    def parameters(self) -> tuple[Value, ...]:
        """In the order of the call."""
        return (
            *(self.key, self.value_hash, _HASH_NAME),
            *(self.secret, self.ttl_s, self.application),
        )

    @classmethod
    def parse(cls, parameters: tuple[object, ...]) -> Self:
        """Read the parameters of a call; raises XmlRpcError."""
        key, value_hash, name, secret, ttl_s, application = _count(parameters, 6)
        _hash_name(name)
        return cls(
            _key(key),
            _hash(value_hash, "value_hash"),
            _octets(secret, "secret", SECRET_LENGTH_MAX),
            _ttl(ttl_s),
            _application(application),
        )


def _count(parameters: tuple[object, ...], wanted: int) -> tuple[object, ...]:
    if len(parameters) != wanted:
        raise XmlRpcError(f"{len(parameters)} parameters where {wanted} are needed")
    return parameters


def _of(kind: type[Field], value: object, name: str) -> Field:
    # A bool is an int to Python, but no <int>.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise XmlRpcError(f"{name} is of another type than {kind.__name__}")
    return value


def _octets(value: object, name: str, longest: int) -> bytes:
    octets = _of(bytes, value, name)
    if len(octets) > longest:
        raise XmlRpcError(f"{name} has {len(octets)} octets, more than {longest}")
    return octets


def _key(value: object) -> bytes:
    key = _octets(value, "key", KEY_LENGTH)
    if len(key) != KEY_LENGTH:
        raise XmlRpcError(f"key has {len(key)} octets, and those of HIP have {KEY_LENGTH}")
    return key


def _hash(value: object, name: str, *, optional: bool = False) -> bytes:
    octets = _octets(value, name, HASH_LENGTH)
    if len(octets) != HASH_LENGTH and (octets or not optional):
        raise XmlRpcError(f"{name} has {len(octets)} octets, and a SHA-1 hash has {HASH_LENGTH}")
    return octets


def _hash_name(value: object) -> None:
    if value != _HASH_NAME:
        raise XmlRpcError(f"another hash than {_HASH_NAME}")


def _ttl(value: object) -> int:
    seconds = _of(int, value, "ttl_sec")
    if not 0 <= seconds <= TTL_MAX:
        raise XmlRpcError(f"ttl_sec is not from 0 to {TTL_MAX}")
    return seconds


def _application(value: object) -> str:
    text = _of(str, value, "application")
    if len(text) > _APPLICATION_LENGTH:
        raise XmlRpcError("the name of the application is too long")
    return text
