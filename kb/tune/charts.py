"""Pictures of a tuning, as PNG in a data: URL; none where matplotlib is not installed."""

from __future__ import annotations

import base64
import importlib.util
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kb.tune.endpoint import EndpointTrial
    from kb.tune.retrieval import RetrievalTrial

__all__ = ["quality_against_cost", "throughput"]

# Okabe and Ito's colours, which colour-blind people can tell apart.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8a8a8a"
LINES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")


def quality_against_cost(trials: Sequence[RetrievalTrial], best: RetrievalTrial) -> str:
    """nDCG@10 with its interval against the size of the index and against the time of a query."""
    figure = _figure(11, 4)
    if figure is None:
        return ""
    axes = figure.subplots(1, 2, sharey=True)
    for axis, label, costs in (
        (axes[0], "index, MB", [trial.bytes / 1e6 for trial in trials]),
        (axes[1], "query, ms (median)", [trial.milliseconds for trial in trials]),
    ):
        for number, (trial, cost) in enumerate(zip(trials, costs, strict=True)):
            colour = ORANGE if trial is best else BLUE if number == 0 else GREY
            error = [[trial.ndcg.mean - trial.ndcg.low], [trial.ndcg.high - trial.ndcg.mean]]
            axis.errorbar(cost, trial.ndcg.mean, yerr=error, fmt="o", color=colour, capsize=2, elinewidth=0.8)
            if trial is best or number == 0:
                words = "best" if trial is best else "as it is"
                axis.annotate(words, (cost, trial.ndcg.mean), xytext=(6, 6), textcoords="offset points", color=colour)
        axis.set_xlabel(label)
        axis.set_xlim(left=0, right=max(costs) * 1.15 or 1)
    axes[0].set_ylabel("nDCG@10, pages (95 % interval)")
    return _url(figure)


def throughput(trials: Sequence[EndpointTrial], knee: EndpointTrial) -> str:
    """Texts a second and the slowest requests against batch size, a line for each concurrency."""
    figure = _figure(11, 4)
    if figure is None:
        return ""
    axes = figure.subplots(1, 2)
    series: dict[tuple[str, int], list[EndpointTrial]] = {}
    for trial in trials:
        series.setdefault((trial.dtype, trial.concurrency), []).append(trial)
    for number, ((dtype, concurrency), line) in enumerate(sorted(series.items())):
        sizes = [trial.batch_size for trial in line]
        style: dict[str, Any] = {"marker": "o", "color": LINES[number % len(LINES)]}
        axes[0].plot(sizes, [trial.texts_per_second for trial in line], label=f"{concurrency} {dtype}".strip(), **style)
        axes[1].plot(sizes, [trial.p99_ms for trial in line], **style)
    axes[0].plot(knee.batch_size, knee.texts_per_second, "o", ms=14, mfc="none", mec=ORANGE, mew=2)
    axes[1].plot(knee.batch_size, knee.p99_ms, "o", ms=14, mfc="none", mec=ORANGE, mew=2)
    axes[0].legend(title="concurrency", frameon=False)
    axes[0].set_ylabel("texts a second")
    axes[1].set_ylabel("slowest requests (p99), ms")
    sizes = sorted({trial.batch_size for trial in trials})
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set_xlabel("texts in a request (circle: the knee)")
        axis.set_ylim(bottom=0)
    return _url(figure)


def _figure(width: float, height: float) -> Any | None:
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _url(figure: Any) -> str:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode("ascii")
