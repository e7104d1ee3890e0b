"""One JSON object a line: how requests and answers are written and read, on both sides."""

import json
from typing import Any

REQUEST_LIMIT_BYTES = 64 * 1024
"""Longest request line."""


def encode(message: dict[str, Any]) -> bytes:
    """Write a message as one line. Raises ValueError for NaN and infinities."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Read a message. Raises ValueError for anything but one JSON object."""
    try:
        message = json.loads(line.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
