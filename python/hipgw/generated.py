"""Documents that are made from the code: written by one command, checked by the same."""

import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def main(render: Callable[[], str], arguments: Sequence[str]) -> int:
    """Write a document, or with `--check` compare it; returns the exit status."""
    check = "--check" in arguments
    files = [argument for argument in arguments if argument != "--check"]
    if len(files) != 1:
        print("usage: [--check] FILE", file=sys.stderr)
        return 2
    path, text = Path(files[0]), render()
    if not check:
        path.write_text(text)
        return 0
    before = path.read_text() if path.exists() else ""
    if before == text:
        return 0
    lines = difflib.unified_diff(
        before.splitlines(), text.splitlines(), str(path), "as the code has it", lineterm=""
    )
    print("\n".join(lines), file=sys.stderr)
    print(f"{path} is out of date: make it again without --check", file=sys.stderr)
    return 1
