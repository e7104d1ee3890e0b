"""Makes docs/control-api.md from the methods and the shapes of answers."""

import ast
import inspect
from collections.abc import Iterator

from hipgw.control import api, connection, errors, server
from hipgw.control.lines import REQUEST_LIMIT_BYTES
from hipgw.control.methods import METHODS, Method, Parameter

_INTRODUCTION = f"""\
# Control API

<!-- Made by `tools/docs.py`; edit python/hipgw/control/ instead. -->

The daemon listens at a Unix socket, `daemon.control_socket` (`/run/hipgw/control.sock`), of mode
0660: root and the members of `daemon.control_group` may use it. Whoever may, may also stop the
daemon. Session keys are never given out.

A request is one JSON object on one line, and so is an answer, with the request's `id` (a whole
number or a short text; null if the request had none):

```
-> {{"id": 1, "method": "ping", "params": {{"peer": "plant-b", "count": 1}}}}
<- {{"id": 1, "reply": {{"sequence": 1, "rtt_s": 0.00125, "path": {{…}}}}}}
<- {{"id": 1, "result": {{"peer": "plant-b", "sent": 1, "received": 1, …}}}}
-> {{"id": 2, "method": "connect", "params": {{"peer": "plant-c"}}}}
<- {{"id": 2, "error": {{"code": "unknown_peer", "message": "no peer is called 'plant-c'",
                      "hint": "`hipgw peers` lists names, HITs and LSIs"}}}}
```

Several requests may be under way on one connection; each ends with one `result` or `error`. After
`subscribe`, lines `{{"event": {{…}}}}` come in between. New keys may appear in answers and events;
ignore what you do not know.

By hand: `echo '{{"id":1,"method":"status"}}' | socat - UNIX:/run/hipgw/control.sock`. In Python:
`hipgw.control.client.ControlClient`.

## Bounds

- A request line has {REQUEST_LIMIT_BYTES:,} octets at most; after a longer one the daemon closes.
- {server.CLIENTS_LIMIT} clients may be connected; a further one is told `busy` and closed.
- {connection.REQUESTS_LIMIT} requests of one connection are worked on at the same time; further
  ones wait.
- A client that neither asks nor waits for anything is closed after {connection.IDLE_TIMEOUT_S:g} s.
- A client that does not read its answers is closed after {connection.READ_TIMEOUT_S:g} s, and a
  subscriber once {connection.UNSENT_LIMIT_BYTES:,} octets of events wait for it.
"""


def render() -> str:
    """The whole document."""
    parts = [_INTRODUCTION, "## Errors\n\n| code | meaning |\n|---|---|"]
    codes = _documented(ast.parse(inspect.getsource(errors)), "ErrorCode")
    for member in errors.ErrorCode:
        parts.append(f"| `{member.value}` | {codes[member.name]} |")
    parts.append("\n## Methods\n")
    for method in METHODS.values():
        parts += _method(method)
    parts.append("## Shapes\n")
    parts += _shapes(ast.parse(inspect.getsource(api)))
    return "\n".join(parts)


def _method(method: Method) -> Iterator[str]:
    yield f"### `{method.name}`\n"
    yield f"{method.meaning} Result: {method.answer}.\n"
    if method.parameters:
        yield "| parameter | type | default | meaning |\n|---|---|---|---|"
        for parameter in method.parameters:
            default = "**required**" if parameter.required else _default(parameter)
            yield f"| `{parameter.name}` | {_kind(parameter)} | {default} | {parameter.meaning} |"
        yield ""


def _default(parameter: Parameter) -> str:
    return "all" if parameter.kind is list else f"`{parameter.default}`"


def _kind(parameter: Parameter) -> str:
    if parameter.kind is list:
        return "list of " + ", ".join(f"`{choice}`" for choice in parameter.choices)
    name = {str: "text", int: "whole number", float: "number"}[parameter.kind]
    unit = " characters" if parameter.kind is str else ""
    return f"{name}, {parameter.minimum:g} to {parameter.maximum:g}{unit}"


def _shapes(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if not isinstance(node, ast.ClassDef) or "TypedDict" not in map(ast.unparse, node.bases):
            continue
        yield f"### {node.name}\n\n{ast.get_docstring(node)}\n"
        yield "| key | type | meaning |\n|---|---|---|"
        meanings = _documented(module, node.name)
        for item in node.body:
            if isinstance(item, ast.AnnAssign):
                name = ast.unparse(item.target)
                kind = ast.unparse(item.annotation).replace("None", "null").replace("|", "\\|")
                yield f"| `{name}` | {kind} | {meanings.get(name, '')} |"
        yield ""


def _documented(module: ast.Module, name: str) -> dict[str, str]:
    """The strings below the attributes of a class, by attribute."""
    found: dict[str, str] = {}
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for before, item in zip(node.body, node.body[1:], strict=False):
                if not isinstance(item, ast.Expr) or not isinstance(item.value, ast.Constant):
                    continue
                if isinstance(before, ast.AnnAssign):
                    target: ast.expr = before.target
                elif isinstance(before, ast.Assign):
                    target = before.targets[0]
                else:
                    continue
                found[ast.unparse(target)] = " ".join(str(item.value.value).split())
    return found
