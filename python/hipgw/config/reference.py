"""Makes docs/configuration.md from the schema, so that the two never differ."""

from collections.abc import Iterator
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hipgw.config.schema import Config

EXAMPLE = """\
[identity]
key_file = "host.pem"            # made by: hipgw keygen host.pem

[endbox]                         # this machine bridges its LAN port with the peers' LANs
ports = ["eth1"]

[[peer]]
name = "plant-b"
hit = "2001:22:5c2a:9d1e:47b0:9e6c:1f2d:3a4b"     # from: hipgw id, on plant-b
addresses = ["192.0.2.2", "2001:db8::2"]
"""

_INTRODUCTION = f"""\
# Configuration

<!-- Made by `tools/docs.py`; edit python/hipgw/config/schema.py instead. -->

`hipgw run --config FILE` reads one TOML file. `hipgw check-config FILE` checks it without starting
anything and names every mistake: file, key, what is wrong, and what to write instead. A key that is
not listed here is an error, and so is a value out of its range.

A small one that joins two LANs; everything else has a default:

```toml
{EXAMPLE}```

At least one role has to be turned on, by `[host]`, `[endbox]`, `[relay]`, `[rvs]` or
`[mobile_router]`. Relative paths start from the folder of the file. The daemon reads it once, at
its start.
"""


def render() -> str:
    """The whole document."""
    parts = [_INTRODUCTION]
    for name, field in Config.model_fields.items():
        model = next(kind for kind in _classes(field.annotation) if issubclass(kind, BaseModel))
        parts.append(_section(field.alias or name, field, model))
        for key, inner in model.model_fields.items():
            if (table := _table(inner)) is not None:
                parts.append(_section(f"{field.alias or name}.{key}", inner, table))
    return "\n".join(parts)


def _table(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a table inside a table."""
    return next((kind for kind in _classes(field.annotation) if issubclass(kind, BaseModel)), None)


def _section(name: str, field: FieldInfo, model: type[BaseModel]) -> str:
    header = f"[[{name}]]" if _is_list(field.annotation) else f"[{name}]"
    need = " (required)" if field.is_required() else ""
    lines = [f"## `{header}`{need}", "", _paragraphs(model.__doc__ or ""), ""]
    lines += ["| key | type and range | default | meaning |", "|---|---|---|---|"]
    for key, inner in model.model_fields.items():
        cells = (f"`{key}`", _type(inner), _default(inner), inner.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _paragraphs(docstring: str) -> str:
    return "\n".join(line.strip() for line in docstring.strip().splitlines())


def _classes(annotation: Any) -> Iterator[type[Any]]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, UnionType, tuple):
        for argument in get_args(annotation):
            yield from _classes(argument)


_PLAIN = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}


def _type(field: FieldInfo) -> str:
    if _table(field) is not None:
        return "list: table" if _is_list(field.annotation) else "table"
    if get_origin(field.annotation) is dict:
        return "table of texts, or of lists of texts"
    kinds = [kind for kind in _classes(field.annotation) if kind is not type(None)]
    if issubclass(kinds[0], Enum):
        text = ", ".join(f"`{_quoted(member.value)}`" for member in kinds[0])
        text = f"one of {text}"
    else:
        names = [_PLAIN.get(kind, kind.__name__.replace("Address", " address")) for kind in kinds]
        text = " or ".join(dict.fromkeys(names))
        # HITs and LSIs are addresses to Python, but not to the reader.
        text = field.title or text
    if _is_list(field.annotation):
        text = f"list: {text}"
    return text + _range(field)


def _is_list(annotation: Any) -> bool:
    if get_origin(annotation) is tuple:
        return True
    return any(_is_list(argument) for argument in get_args(annotation))


def _range(field: FieldInfo) -> str:
    limits = {
        name: getattr(item, name)
        for item in field.metadata
        for name in ("ge", "le", "multiple_of")
        if getattr(item, name, None) is not None
    }
    text = ""
    if "ge" in limits and "le" in limits:
        text += f", {_quoted(limits['ge'])} to {_quoted(limits['le'])}"
    if "multiple_of" in limits:
        text += f", a multiple of {limits['multiple_of']}"
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "unit" in extra:
        text += f" ({extra['unit']})"
    return text


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if value is None or value is PydanticUndefined:
        return "none"
    return f"`{_quoted(value)}`"


def _quoted(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_quoted(item) for item in value) + "]"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str | Path | IPv4Address):
        return f'"{value}"'
    return str(value).removesuffix(".0")
