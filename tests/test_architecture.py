"""The import directions of docs/architecture.md, read from the sources."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "hipgw"

ROOMS = {
    "wire": set(),
    "identity": {"wire"},
    "protocol": {"identity", "wire"},
    "naming": {"identity", "wire"},
    "dataplane": {"platform", "protocol", "identity", "wire"},
    "platform": {"protocol", "identity", "wire"},
    "config": {"protocol", "identity", "wire"},
    "roles": {"protocol", "naming", "dataplane", "platform", "config", "identity", "wire"},
    "daemon": {
        *("control", "roles", "protocol", "naming", "dataplane", "platform"),
        *("config", "identity", "wire"),
    },
    "control": {"config", "protocol", "identity", "wire"},
    "lab": {"control", "config", "platform", "protocol", "identity", "wire"},
    "cli": {
        *("control", "daemon", "lab", "config", "platform", "dataplane", "identity", "wire"),
        *("protocol", "naming"),
    },
}
"""Which other rooms each room may import."""

SANS_IO = {"wire", "identity", "protocol"}
NEEDS_A_DRIVER = {"asyncio", "os", "random", "secrets", "select", "socket", "time", "threading"}
ONLY_IN = {
    "pyroute2": {"platform", "lab"},
    "uvloop": {"daemon", "control"},
    "dns": {"naming"},
    "hipgw._esp_core": {"dataplane", "identity", "daemon"},
    "hipgw._wire": {"wire"},
    "hipgw._dns": {"naming"},
}
EXCEPTIONS = {
    # Key files are read and written here, and nowhere else in the pure rooms.
    ("identity/keyfile.py", "os"),
}


def imports(file: Path) -> set[str]:
    """Full names of everything *file* imports, at any depth in it, type checking included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add("relative import")
    return names


def files() -> list[str]:
    return sorted(
        str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE
    )


@pytest.mark.parametrize("name", files())
def test_imports_run_downwards(name: str) -> None:
    room = name.split("/")[0]
    assert room in ROOMS, f"{room} is no room of docs/architecture.md"
    used = imports(PACKAGE / name)
    assert "relative import" not in used, "absolute imports only"
    for module in used:
        parts = module.split(".")
        if parts[0] == "hipgw" and len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
            assert parts[1] == room or parts[1] in ROOMS[room], f"{room} may not import {module}"
        if room in SANS_IO and parts[0] in NEEDS_A_DRIVER and (name, parts[0]) not in EXCEPTIONS:
            pytest.fail(f"{name} imports {module}: time, randomness and I/O are handed in")
        for prefix, rooms in ONLY_IN.items():
            if module == prefix or module.startswith(prefix + "."):
                assert room in rooms, f"{module} is for {', '.join(sorted(rooms))} only"
