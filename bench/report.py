"""Puts the tables of the latest run into the documents.

    python bench/report.py

rewrites what is between the markers in docs/performance.md and README.md.
Everything else in these files is written by hand and stays.
"""

import sys
from pathlib import Path

from latest import ROOT, Latest, NoRunError
from pieces import core_rows, markdown_pieces
from tables import main_rows, markdown, more_rows

README = ROOT / "README.md", "<!-- bench table: begin -->", "<!-- bench table: end -->"
PERFORMANCE = ROOT / "docs" / "performance.md", "<!-- bench: begin -->", "<!-- bench: end -->"


def main() -> int:
    """Rewrite both files; 1 if there is no run, or a file has lost its markers."""
    try:
        latest = Latest.read()
    except NoRunError as error:
        print(error, file=sys.stderr)
        return 1
    core = core_rows(latest)
    programs = "\n".join(
        f"- {name}: {version}" for name, version in latest.content["versions"].items()
    )
    failed = "".join(
        f"\n\n{name}: {trouble.splitlines()[0]}"
        for name, trouble in latest.content["failed"].items()
    )
    parts = [
        _head(latest),
        markdown(main_rows(latest)),
        markdown(more_rows(latest)) + failed,
        "Everything runs on one machine: sender, receiver, two daemons and the kernel's network\n"
        "namespaces share its cores, so compare the rows and not the absolute figures. The plain"
        " path\nnever cuts its 64 KiB super-packets into frames; a tunnel has to."
        " `bench/README.md` says how each\nfigure is made.",
    ]
    if len(core) > 1:
        parts += ["### Core", markdown(core), "### Pieces", markdown_pieces(latest)]
    parts += ["### Programs", programs]
    complete = _between(*PERFORMANCE, "\n\n".join(parts))
    return (
        0
        if _between(*README, f"{markdown(main_rows(latest))}\n\n{_head(latest)}") and complete
        else 1
    )


def _head(latest: Latest) -> str:
    machine = latest.content["machine"]
    text = (
        f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, "
        f"{latest.content['date'][:10]}. Medians; in brackets the least and the greatest run."
        " A peer without encryption is never the best peer."
    )
    if built := latest.content["built_elsewhere"]:
        text += (
            f" {', '.join(built)}: no packages of Debian's, but built by `bench/build_peers.sh`."
        )
    return text


def _between(place: Path, begin: str, end: str, text: str) -> bool:
    """Write *text* between the markers; false if they are not there."""
    before, found, rest = place.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        print(f"{place.name} has no {begin} and {end}; it stays as it is.", file=sys.stderr)
        return False
    place.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    return True


if __name__ == "__main__":
    sys.exit(main())
