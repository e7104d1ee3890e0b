"""Turns pydantic's validation errors into problems that name the key, the fault and a remedy."""

from collections.abc import Iterator, Mapping
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hipgw.config.fields import InvalidValueError, describe
from hipgw.config.problems import InconsistentError, Problem, did_you_mean
from hipgw.config.schema import Config

Location = tuple[int | str, ...]

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "tuple_type": "a list in [ ]",
    "enum": "text in quotes",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
}


def problems_of(error: ValidationError, table: Mapping[str, Any]) -> tuple[Problem, ...]:
    """The problems of a file that was parsed to `table`, each once."""
    found: dict[tuple[str, str], Problem] = {}
    for details in error.errors(include_url=False):
        for problem in _problems(details, table):
            found.setdefault((problem.key, problem.what), problem)
    return tuple(found.values())


def key_path(location: Location) -> str:
    """Write a location as the file's reader would: `peer[1].addresses[0]`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def _problems(details: ErrorDetails, table: Mapping[str, Any]) -> Iterator[Problem]:
    location = _inside(details["loc"], table)
    path = key_path(location)
    context = details.get("ctx", {})
    cause = context.get("error")
    value = details.get("input")
    match details["type"]:
        case "value_error" if isinstance(cause, InconsistentError):
            for problem in cause.problems:
                key = f"{path}.{problem.key}".strip(".") if path else problem.key
                yield Problem(key, problem.what, problem.hint)
        case "value_error" if isinstance(cause, InvalidValueError):
            yield Problem(path, str(cause), cause.hint)
        case "extra_forbidden":
            yield Problem(path, "unknown key", _unknown_key_hint(location))
        case "missing":
            yield Problem(path, "is missing", _description(location))
        case "enum" if isinstance(value, str):
            names = _enum_names(location)
            yield Problem(
                path,
                f"{value!r} is not one of {', '.join(repr(name) for name in names)}",
                did_you_mean(value, names),
            )
        case "int_type" | "float_type" if isinstance(value, str) and _is_number(value):
            yield Problem(path, f"has to be {_KINDS[details['type']]}", "write it without quotes")
        case "tuple_type" if isinstance(value, str):
            yield Problem(path, "has to be a list in [ ]", f'write ["{value}"]')
        case "tuple_type" if isinstance(value, dict) and location == ("peer",):
            yield Problem(path, "is a single table", "write [[peer]], with double brackets")
        case kind if kind in _KINDS:
            yield Problem(path, f"has to be {_KINDS[kind]}, not {describe(value)}")
        case "too_short" if value:
            # Its items are refused, each with a problem of its own.
            return
        case "too_short" | "string_too_short":
            yield Problem(path, "is empty", _description(location))
        case "too_long" | "string_too_long":
            yield Problem(path, f"is too long: {context.get('max_length')} at most")
        case "greater_than_equal" | "less_than_equal" | "multiple_of":
            yield Problem(path, f"is {describe(value)}; {_bounds(location)}")
        case _:
            message = details["msg"].removeprefix("Value error, ")
            yield Problem(path, message.replace("Input should be", "has to be"))


def _inside(location: Location, table: Mapping[str, Any]) -> Location:
    """Leave out what pydantic adds to a location that does not stand in the file."""
    kept: list[int | str] = []
    node: Any = table
    for part in location:
        if isinstance(node, Mapping) and isinstance(part, str):
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int):
            node = node[part] if part < len(node) else None
        else:
            continue
        kept.append(part)
    return tuple(kept)


def _models(annotation: Any) -> Iterator[type[Any]]:
    """The classes that an annotation is made of."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, UnionType, tuple):
        for argument in get_args(annotation):
            yield from _models(argument)


def _table_at(location: Location) -> type[BaseModel] | None:
    """The model of the table at a location."""
    model: type[BaseModel] = Config
    for part in location:
        if isinstance(part, int):
            continue
        field = _fields(model).get(part)
        if field is None:
            return None
        inner = next(
            (kind for kind in _models(field.annotation) if issubclass(kind, BaseModel)), None
        )
        if inner is None:
            return None
        model = inner
    return model


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _field_at(location: Location) -> Any:
    names = [part for part in location if isinstance(part, str)]
    model = _table_at(tuple(names[:-1])) if names else None
    return _fields(model).get(names[-1]) if model is not None else None


def _description(location: Location) -> str:
    field = _field_at(location)
    if field is None:
        return ""
    if field.description:
        return str(field.description)
    return f"add a {_header(key_path(location))} table"


def _enum_names(location: Location) -> list[str]:
    field = _field_at(location)
    kinds = _models(field.annotation) if field is not None else iter(())
    return [str(member.value) for kind in kinds if issubclass(kind, Enum) for member in kind]


def _bounds(location: Location) -> str:
    field = _field_at(location)
    limits: dict[str, Any] = {}
    for item in field.metadata if field is not None else ():
        for name in ("ge", "le", "multiple_of"):
            if getattr(item, name, None) is not None:
                limits[name] = getattr(item, name)
    least, most = (_plain(limits.get(name)) for name in ("ge", "le"))
    text = f"it has to lie between {least} and {most}"
    if "multiple_of" in limits:
        text += f" and be a multiple of {limits['multiple_of']}"
    return text


def _plain(number: Any) -> Any:
    """A number as one writes it: the limits of a key that takes fractions need not have any."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _header(table: str) -> str:
    return "[[peer]]" if table == "peer" else f"[{table}]"


def _unknown_key_hint(location: Location) -> str:
    name = str(location[-1]) if location else ""
    table = _table_at(location[:-1])
    known = list(_fields(table)) if table is not None else []
    if hint := did_you_mean(name, known):
        return hint
    tables = {home: _table_at((home,)) for home in _fields(Config)}
    if name in tables:
        return f"{_header(name)} is a table of its own"
    for home, model in list(tables.items()):
        for key in _fields(model) if model is not None else ():
            tables[f"{home}.{key}"] = _table_at((home, key))
    homes = [home for home, model in tables.items() if model and name in _fields(model)]
    if homes:
        return "it belongs to " + " or ".join(_header(home) for home in homes)
    return f"known here: {', '.join(known)}" if known else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
