"""How log records are written: for people, as `key=value` pairs, or as JSON; never in floods.

Loggers are those of the standard library, one a module, with fields as `extra`:

    _log.info("association established", extra={"peer": "plant-b", "duration_s": 0.021})
"""

import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal, TextIO

Format = Literal["auto", "human", "text", "json"]

_STANDARD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_PREFIX = "hipgw."
_COLOURS = {
    logging.DEBUG: "\x1b[2m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_TALKATIVE = {"asyncio": logging.INFO, "pyroute2": logging.INFO, "watchfiles": logging.WARNING}
"""Libraries whose lesser records are about themselves: pyroute2's are whole netlink messages, which
hide what hipgw has to say and hold keys where the kernel is asked for its security associations."""
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_NEEDS_QUOTES = re.compile(r"[^!#-<>-~\u00a1-\u2027\u2030-\ud7ff]")
"""White space, controls, quotes and '=': a value with one of these could pass for another field."""

ANY_BURST, ANY_RATE = 200, 20.0
"""What the handler lets through from one place in the code: records at once, records a second."""

PACKET_BURST, PACKET_RATE = 10, 0.2
"""The same for a message that any stranger's packet can cause."""


class RateLimit(logging.Filter):
    """Lets a burst of records through from each place in the code, then so many a second.

    The first one that passes again carries how many did not, as `suppressed`. Memory is bounded
    by the number of places in the code. Errors pass always, and so do debug records, which
    somebody asked for.
    """

    def __init__(self, burst: int = PACKET_BURST, rate: float = PACKET_RATE) -> None:
        """`rate` is records a second."""
        super().__init__()
        self._burst = float(burst)
        self._rate = rate
        self._places: dict[tuple[str, int], _Bucket] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        if record.levelno >= logging.ERROR or record.levelno <= logging.DEBUG:
            return True
        bucket = self._places.setdefault(
            (record.pathname, record.lineno), _Bucket(self._burst, record.created)
        )
        elapsed = max(0.0, record.created - bucket.since)
        bucket.left = min(self._burst, bucket.left + elapsed * self._rate)
        bucket.since = record.created
        if bucket.left < 1.0:
            bucket.suppressed += 1 + getattr(record, "suppressed", 0)
            return False
        bucket.left -= 1.0
        if bucket.suppressed:
            record.suppressed = bucket.suppressed + getattr(record, "suppressed", 0)
            bucket.suppressed = 0
        return True


class _Bucket:
    __slots__ = ("left", "since", "suppressed")

    def __init__(self, left: float, since: float) -> None:
        self.left = left
        self.since = since
        self.suppressed = 0


def packet_path_logger(name: str) -> logging.Logger:
    """A logger for what strangers' packets can cause, limited so that they cannot fill the disk."""
    logger = logging.getLogger(name)
    if not any(isinstance(known, RateLimit) for known in logger.filters):
        logger.addFilter(RateLimit())
    return logger


class HumanFormatter(logging.Formatter):
    """`12:00:01.123 INFO  roles.endbox: message  peer=plant-b`, in colour if wanted."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below if there is one."""
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        stamp = f"{at}.{int(record.msecs):03d}"
        level = f"{record.levelname:<7}"
        message = _one_line(record.getMessage())
        fields = " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record))
        if self._colour:
            stamp = f"{_DIM}{stamp}{_PLAIN}"
            level = f"{_COLOURS.get(record.levelno, '')}{level}{_PLAIN}"
            fields = f"{_DIM}{fields}{_PLAIN}" if fields else ""
        line = f"{stamp} {level} {_short_name(record)}: {message}"
        line += f"  {fields}" if fields else ""
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class TextFormatter(logging.Formatter):
    """`time=… level=info logger=roles.endbox message="…" peer=plant-b`, always one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        pairs = _all_fields(record)
        if record.exc_info:
            pairs["traceback"] = self.formatException(record.exc_info)
        return " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the fields beside `time`, `level`, `logger` and `message`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        pairs = _all_fields(record)
        if record.exc_info:
            pairs["traceback"] = self.formatException(record.exc_info)
        return json.dumps(pairs, default=_plain)


def set_up(
    log_format: Format = "auto", level: str = "info", *, stream: TextIO | None = None
) -> None:
    """Write the records of the whole process to a stream (standard error) from now on.

    May be called again; the last call counts.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    formatter: logging.Formatter
    match log_format:
        case "json":
            formatter = JsonFormatter()
        case "human":
            formatter = HumanFormatter(colour=terminal)
        case "auto" if terminal:
            formatter = HumanFormatter(colour=True)
        case _:
            formatter = TextFormatter()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.addFilter(RateLimit(ANY_BURST, ANY_RATE))
    # A log that cannot be written (a full disk, a closed pipe) must not stop the daemon.
    logging.raiseExceptions = False
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    for library, least in _TALKATIVE.items():
        logging.getLogger(library).setLevel(least)


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for key, value in vars(record).items():
        if key not in _STANDARD_FIELDS:
            yield key, value


def _all_fields(record: logging.LogRecord) -> dict[str, Any]:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    pairs: dict[str, Any] = {
        "time": at.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": _short_name(record),
        "message": record.getMessage(),
    }
    for key, value in _fields(record):
        pairs[f"{key}_" if key in pairs else key] = value
    return pairs


def _short_name(record: logging.LogRecord) -> str:
    return record.name.removeprefix(_PREFIX)


def _plain(value: Any) -> str:
    return str(value.value) if isinstance(value, Enum) else str(value)


def _quoted(value: Any) -> str:
    text = _plain(value)
    if text and text.isprintable() and not _NEEDS_QUOTES.search(text):
        return text
    return json.dumps(text, ensure_ascii=True)


def _one_line(text: str) -> str:
    """Without line ends and controls, by which a peer's text could pass for another record."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
