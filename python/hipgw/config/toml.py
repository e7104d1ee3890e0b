"""Writes TOML: what tomllib reads, back to text."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def emit(table: Mapping[str, Any]) -> str:
    """The text of a table of tables; lists of tables become [[headers]].

    Values are texts, numbers, booleans, and lists of those or of lists.
    """
    return "\n".join(_table(table, "")).strip() + "\n"


def _table(table: Mapping[str, Any], path: str) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not _is_table(value)}
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        name = f"{path}.{_key(key)}" if path else _key(key)
        if isinstance(value, Mapping):
            if not value or not all(map(_is_table, value.values())):
                yield f"\n[{name}]"
            yield from _table(value, name)
        elif key not in plain:
            for item in value:
                yield f"\n[[{name}]]"
                yield from _table(item, name)


def _is_table(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def _key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else _value(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case _:
            # JSON's texts are TOML's, but for DEL, which TOML wants escaped as well.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
