"""Values in OpenHIP's files: numbers, yes and no, hexadecimal, addresses, HITs.

What OpenHIP reads is read: a number may have other things behind it, a HIT may be an address or 32
hexadecimal digits. What it would silently read as something else is an error.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from hipgw.config.openhip.xml import Element, OpenHipFileError
from hipgw.identity.hit import HIT_PREFIX_V1

IPAddress = IPv4Address | IPv6Address

_INTEGER = re.compile(r"[+-]?\d{1,20}(?!\w)")
_HEXADECIMAL = re.compile(r"(?:0[xX])?([0-9A-Fa-f]+)")
_HEX_DIGITS_MAX = 8192
"""No key has a number of more than 16,384 bits; this is twice that."""
_HIT_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, for error texts."""

    file: Path
    line: int
    name: str

    @classmethod
    def of(cls, file: Path, element: Element) -> "Place":
        """The place of an element's text."""
        return cls(file, element.line, f"<{element.tag}>")

    def error(self, what: str, hint: str = "") -> OpenHipFileError:
        """An error about this value."""
        return OpenHipFileError(self.file, self.line, f"{self.name}: {what}", hint=hint)


def integer(text: str, place: Place, least: int = 0, most: int = 2**31 - 1) -> int:
    """A decimal number within bounds."""
    match = _INTEGER.match(text)
    if match is None:
        raise place.error(f"{shown(text)} is not a whole number", "write one in decimal digits")
    value = int(match[0])
    if not least <= value <= most:
        raise place.error(f"{value} does not lie between {least} and {most}")
    return value


def yes_no(text: str) -> bool:
    """`yes` is yes; everything else is no, as OpenHIP has it."""
    return text.startswith("yes")


def hexadecimal(text: str, place: Place) -> int:
    """A number in hexadecimal digits, with `0x` or without; the text is not quoted in errors."""
    joined = "".join(text.split())
    match = _HEXADECIMAL.fullmatch(joined)
    if match is None or len(joined) > _HEX_DIGITS_MAX:
        raise place.error("is not a number in hexadecimal digits", "the file is damaged")
    return int(match[1], 16)


def octets(text: str, place: Place) -> bytes:
    """Octets in hexadecimal digits, with `0x` or without; the text is not quoted in errors."""
    match = _HEXADECIMAL.fullmatch(text)
    if match is None or len(text) > _HEX_DIGITS_MAX or len(match[1]) % 2:
        raise place.error("are not octets in hexadecimal digits", "write two digits for each")
    return bytes.fromhex(match[1])


def address(text: str, place: Place) -> IPAddress:
    """An IPv4 or IPv6 address."""
    try:
        return ip_address(text)
    except ValueError:
        raise place.error(
            f"{shown(text)} is not an IPv4 or IPv6 address", "write a numeric address"
        ) from None


def ipv4(text: str, place: Place) -> IPv4Address:
    """An IPv4 address."""
    value = address(text, place)
    if not isinstance(value, IPv4Address):
        raise place.error(f"{value} is not an IPv4 address")
    return value


def hit(text: str, place: Place) -> IPv6Address:
    """A HIT of version 1, as an address or as 32 hexadecimal digits."""
    value: IPv6Address | None = None
    digits = _HEXADECIMAL.fullmatch(text)
    if digits is not None and len(digits[1]) == _HIT_DIGITS:
        value = IPv6Address(int(digits[1], 16))
    elif ":" in text:
        try:
            value = IPv6Address(text)
        except ValueError:
            value = None
    if value is None:
        raise place.error(f"{shown(text)} is not a HIT", "write it as 2001:1…, or in 32 hex digits")
    if value not in HIT_PREFIX_V1 or value.scope_id:
        raise place.error(
            f"{value} is not a HIT of HIP version 1", f"they start with {HIT_PREFIX_V1}"
        )
    return value


def shown(text: str) -> str:
    """A text for an error, shortened and without controls."""
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return repr(clean if len(clean) <= 60 else clean[:57] + "…")
