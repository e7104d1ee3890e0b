"""What is wrong with a file, and how it is told."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the file."""

    key: str
    """Where, such as `peer[1].addresses[0]`; empty for the file as a whole."""
    what: str
    hint: str = ""


class InconsistentError(ValueError):
    """Keys that contradict each other; the keys in `problems` are relative to the table."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.key}: {problem.what}" for problem in self.problems))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the known word nearest to a misspelt one, or empty."""
    by_lower_case = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.6)
    return f"did you mean {by_lower_case[close[0]]!r}?" if close else ""
