"""Draws the latest run.

python bench/plot.py                write build/bench/latest.svg and latest.png
python bench/plot.py --document     write docs/bench.svg, too
"""

import argparse
import sys

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "svg.fonttype": "none",
        # The same run gives the same file.
        "svg.hashsalt": "hipgw",
    }
)

from matplotlib import pyplot as plt  # noqa: E402  (after the choice of a backend)
from matplotlib.axes import Axes  # noqa: E402

import figures  # noqa: E402
from figures import Figure  # noqa: E402
from latest import PLACE, ROOT, Latest, NoRunError, is_hipgw, short  # noqa: E402

OURS, PEERS, PLAIN, FAINT = "#0b7285", "#adb5bd", "#dee2e6", "#495057"
PANELS: tuple[tuple[Figure, str], ...] = (
    (figures.TCP, "TCP, one stream, Gb/s\nmore is better"),
    (figures.UDP64, "64-byte UDP, thousands/s\nmore is better"),
    (figures.PING, "ping, µs\nless is better"),
)


def main() -> int:
    """Write the pictures; 1 if there is no run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--document", action="store_true", help="write docs/bench.svg, too")
    options = parser.parse_args()
    try:
        latest = Latest.read()
    except NoRunError as error:
        print(error, file=sys.stderr)
        return 1
    names = latest.contestants
    picture, panels = plt.subplots(
        1, len(PANELS), figsize=(10, 1.3 + 0.27 * len(names)), sharey=True, layout="constrained"
    )
    for axes, (figure, title) in zip(panels, PANELS, strict=True):
        _bars(axes, latest, names, figure, title)
    labels = [f"hipgw {short(name)}" if is_hipgw(name) else short(name) for name in names]
    panels[0].set_yticks(range(len(names)), labels)
    panels[0].invert_yaxis()
    for label, name in zip(panels[0].get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if is_hipgw(name) else "normal")
        label.set_color(OURS if is_hipgw(name) else FAINT)
    machine = latest.content["machine"]
    picture.supxlabel(
        f"medians on {machine['cores']} shared cores of {machine['cpu']},"
        f" {latest.content['date'][:10]}; lines reach from the least to the greatest run",
        fontsize=8,
        color=FAINT,
    )
    places = [PLACE.with_suffix(".svg"), PLACE.with_suffix(".png")]
    if options.document:
        places.append(ROOT / "docs" / "bench.svg")
    for place in places:
        metadata = {"Date": None} if place.suffix == ".svg" else None
        picture.savefig(place, dpi=160, metadata=metadata, facecolor="white")
        print(place.relative_to(ROOT))
    return 0


def _bars(axes: Axes, latest: Latest, names: list[str], figure: Figure, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=FAINT)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axes.tick_params(length=0, colors=FAINT)
    axes.set_xticks([])
    longest = max((latest.value(name, figure) or 0.0 for name in names), default=1.0)
    axes.set_xlim(0, longest * 1.3)
    for place, name in enumerate(names):
        result = latest.result(name, figure)
        if result is None:
            axes.text(longest * 0.02, place, "no figure", va="center", color=FAINT, fontsize=8)
            continue
        value, runs = result["value"], result["runs"]
        color = OURS if is_hipgw(name) else PLAIN if name.startswith("e2e.") else PEERS
        axes.barh(place, value, height=0.68, color=color)
        if len(runs) > 1:
            axes.plot([min(runs), max(runs)], [place, place], color="#212529", lw=1)
        axes.text(
            max(value, *runs, 0) + longest * 0.02,
            place,
            f"{value:,.{figure.digits}f}",
            va="center",
            fontsize=9,
            color=OURS if is_hipgw(name) else FAINT,
            fontweight="bold" if is_hipgw(name) else "normal",
        )


if __name__ == "__main__":
    sys.exit(main())
