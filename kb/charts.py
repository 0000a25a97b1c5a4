"""Plots of a collection, drawn by matplotlib as SVG that is readable on light and on dark pages."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kb.collection_map import CollectionMap
    from kb.store import Run

__all__ = ["draw_map", "draw_runs"]

GREY = "#808080"  # at least 3.9:1 on white and on JupyterLab's dark grey
# Okabe and Ito: told apart also by those who see fewer colours.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b8a800")
NAMED = 7


@contextmanager
def _figure(width: float, height: float, rows: int = 1) -> Iterator[tuple[Any, Any]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure  # without pyplot: no window, no state shared with the user's own plots

    style: Any = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GREY)
    style |= {"svg.fonttype": "none", "font.size": 10, "axes.grid": True, "grid.alpha": 0.25}
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots(rows, 1, sharex=rows > 1)
        for axis in axes if rows > 1 else [axes]:
            axis.patch.set_alpha(0)
            axis.spines[["top", "right"]].set_visible(False)
        yield figure, axes


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def draw_runs(runs: Sequence[Run]) -> str:
    """Documents and failures of each ingest, and passages a second, the oldest first; SVG, empty without runs."""
    if not runs:
        return ""
    ordered = sorted(runs, key=lambda run: run.started_at)
    reports = [json.loads(run.report) for run in ordered]
    places = range(len(ordered))
    with _figure(8.5, 4.2, rows=2) as (figure, (above, below)):
        bottom = [0] * len(ordered)
        for outcome, colour in (("added", COLOURS[0]), ("changed", COLOURS[5]), ("failed", COLOURS[3])):
            counts = [report[outcome] for report in reports]
            above.bar(places, counts, bottom=bottom, color=colour, label=outcome, width=0.7)
            bottom = [low + count for low, count in zip(bottom, counts, strict=True)]
        above.set_ylabel("documents")
        above.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)
        speeds = [report["chunks"] / max(report["seconds"], 1e-6) for report in reports]
        below.plot(places, speeds, color=COLOURS[2], marker="o", markersize=4)
        below.set_ylabel("passages/s")
        below.set_ylim(bottom=0)
        step = max(1, len(ordered) // 8)
        shown = list(places)[::step]
        below.set_xticks(shown, [f"{ordered[place].started_at:%m-%d\n%H:%M}" for place in shown])
        return _svg(figure)


def draw_map(chart: CollectionMap) -> str:
    """Passages as points, coloured by document, the largest documents named; SVG, empty where there is nothing."""
    if not chart.documents:
        return ""
    sizes: dict[str, int] = {}
    for path in chart.documents:
        sizes[path] = sizes.get(path, 0) + 1
    named = sorted(sizes, key=lambda path: (-sizes[path], path))[:NAMED]
    with _figure(8.5, 5.2) as (figure, axes):
        for path, colour in [*zip(named, COLOURS, strict=False), ("", GREY)]:
            rows = [row for row, its in enumerate(chart.documents) if its == path or (not path and its not in named)]
            if rows:
                label = PurePath(path).name if path else "all others"
                x, y = chart.points[rows, 0], chart.points[rows, 1]
                axes.scatter(x, y, s=9, alpha=0.65, color=colour, label=_plain(label), linewidths=0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, markerscale=2)
        return _svg(figure)


def _plain(label: str) -> str:
    """A name that matplotlib takes for no formula and does not hide."""
    return label.replace("$", r"\$")[:48].lstrip("_")
