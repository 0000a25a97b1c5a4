"""How good the search is: recall, nDCG and MRR on questions with known answers, at page and at document level."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from typing import Any

import numpy as np

from kb.html import render
from kb.questions import Question
from kb.shown import Shown
from kb.types import Hit, Progress

__all__ = ["EVALUATION_DEPTH", "Answered", "Evaluation", "ModeResult", "Score", "evaluate", "gain"]

# Hits asked for, so that there are ten distinct pages and documents among them wherever there can be.
EVALUATION_DEPTH = 50
MEASURES = ("recall@5", "recall@10", "nDCG@10", "MRR@10")
RESAMPLES = 2_000
LEVELS = ("page", "document")


@dataclass(frozen=True, slots=True)
class Score:
    """A mean over questions with its 95 % interval (bootstrap over questions, percentiles)."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Answered:
    """One question: what was wanted, what came, and how good it is."""

    query: str
    wanted: tuple[str, ...]
    found: tuple[str, ...]  # the first ten pages
    rank: int | None  # of the first right page among them
    milliseconds: float
    page: Mapping[str, float] = field(default_factory=dict)
    document: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModeResult:
    """One way to search, over all questions."""

    mode: str
    page: Mapping[str, Score]
    document: Mapping[str, Score]
    milliseconds: Mapping[str, float]
    answered: tuple[Answered, ...]

    def to_dict(self) -> dict[str, Any]:
        """Scores and intervals; `milliseconds` are of a search of EVALUATION_DEPTH hits with its embedding."""
        levels: dict[str, Any] = {}
        for level, scores in (("page", self.page), ("document", self.document)):
            levels[level] = {name: round(score.mean, 4) for name, score in scores.items()}
            levels[f"{level}_interval"] = {
                name: [round(score.low, 4), round(score.high, 4)] for name, score in scores.items()
            }
        return {**levels, "milliseconds": dict(self.milliseconds)}


@dataclass(frozen=True, slots=True)
class Evaluation(Shown):
    """Several ways to search, on the same questions. `unknown` are documents that the collection does not hold."""

    questions: int
    modes: tuple[ModeResult, ...]
    unknown: tuple[str, ...] = ()

    def to_dict(self, *, details: bool = False) -> dict[str, Any]:
        """The evaluation as `kb evaluate --json` prints it; `details` adds every question's result."""
        modes = {
            result.mode: result.to_dict()
            | ({"questions": [asdict(answered) for answered in result.answered]} if details else {})
            for result in self.modes
        }
        return {"questions": self.questions, "unknown_documents": list(self.unknown), "modes": modes}

    def worst(self, count: int = 20) -> tuple[Answered, ...]:
        """Questions that the first mode answered worst, for a look at them."""
        return tuple(sorted(self.modes[0].answered, key=lambda one: (one.page or one.document)["nDCG@10"])[:count])

    def _repr_html_(self) -> str:
        return render("evaluation.html", evaluation=self, measures=MEASURES, levels=LEVELS)

    def to_text(self) -> str:
        """The result where there is no HTML."""
        return str(self.to_dict())


def evaluate(
    questions: Sequence[Question],
    searches: Mapping[str, Callable[[str], Sequence[Hit]]],
    *,
    documents: Iterable[str],
    draw: Callable[[Progress], None] = lambda _: None,
) -> Evaluation:
    """Asks every question in every mode; `documents` are the paths of the collection. Raises what a search raises."""
    names = _Names(documents)
    total = len(questions) * len(searches)
    results = []
    for place, (mode, search) in enumerate(searches.items()):
        runs = []
        for number, question in enumerate(questions, start=1):
            started = time.perf_counter()
            hits = search(question.query)
            runs.append((hits, (time.perf_counter() - started) * 1000))
            draw(Progress(place * len(questions) + number, total, mode))
        results.append(_mode_result(mode, questions, runs, names))
    wanted = {one.document for question in questions for one in question.relevant}
    return Evaluation(len(questions), tuple(results), tuple(sorted(wanted - names.known)))


def gain(before: Sequence[float], after: Sequence[float]) -> Score:
    """How much better `after` is than `before`, question by question, with its 95 % interval."""
    return _score(np.asarray(after) - np.asarray(before))


class _Names:
    """Documents are named in questions by path or by file name."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = set(paths)
        self.known = self._paths | {path.rsplit("/", 1)[-1] for path in self._paths}

    def of(self, hit: Hit, wanted: Iterable[str]) -> str:
        """How the questions call this hit's document."""
        for path in (hit.document, *hit.also_in):
            for name in (path, path.rsplit("/", 1)[-1]):
                if name in wanted:
                    return name
        return hit.document


def _mode_result(
    mode: str, questions: Sequence[Question], runs: Sequence[tuple[Sequence[Hit], float]], names: _Names
) -> ModeResult:
    judged: dict[str, dict[str, dict[str, int]]] = {level: {} for level in LEVELS}
    ranked: dict[str, dict[str, dict[str, float]]] = {level: {} for level in LEVELS}
    for number, (question, (hits, _)) in enumerate(zip(questions, runs, strict=True)):
        wanted = {place.document for place in question.relevant}
        called = [(names.of(hit, wanted), hit.page) for hit in hits]
        pages = {(place.document, place.page) for place in question.relevant if place.page is not None}
        if pages:
            judged["page"][str(number)] = {f"{name}#{page}": 1 for name, page in pages}
            ranked["page"][str(number)] = _in_order(f"{name}#{page}" for name, page in called)
        judged["document"][str(number)] = dict.fromkeys(wanted, 1)
        ranked["document"][str(number)] = _in_order(name for name, _ in called)
    values = {level: _measured(judged[level], ranked[level]) for level in LEVELS}
    answered = []
    for number, (question, (_, milliseconds)) in enumerate(zip(questions, runs, strict=True)):
        level = "page" if str(number) in judged["page"] else "document"
        wanted_here, found = judged[level][str(number)], list(ranked[level][str(number)])[:10]
        rank = next((rank for rank, name in enumerate(found, start=1) if name in wanted_here), None)
        by_level = [values[level].get(str(number), {}) for level in LEVELS]
        answered.append(Answered(question.query, tuple(wanted_here), tuple(found), rank, milliseconds, *by_level))
    scores = {
        level: {
            measure: _score(np.asarray([value[measure] for value in values[level].values()]))
            for measure in MEASURES
            if values[level]
        }
        for level in LEVELS
    }
    times = sorted(milliseconds for _, milliseconds in runs)
    percentiles = quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    told = {"p50": round(percentiles[49], 1), "p95": round(percentiles[94], 1)}
    return ModeResult(mode, scores["page"], scores["document"], told, tuple(answered))


def _in_order(names: Iterable[str]) -> dict[str, float]:
    """Distinct names in their order, as the scores that an evaluation wants."""
    return {name: 1.0 / rank for rank, name in enumerate(dict.fromkeys(names), start=1)}


def _measured(
    judged: Mapping[str, Mapping[str, int]], ranked: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Every measure of every question, by ir-measures."""
    from ir_measures import RR, R, iter_calc, nDCG

    if not judged:
        return {}
    measures = {R @ 5: "recall@5", R @ 10: "recall@10", nDCG @ 10: "nDCG@10", RR @ 10: "MRR@10"}
    values: dict[str, dict[str, float]] = {number: dict.fromkeys(MEASURES, 0.0) for number in judged}
    for metric in iter_calc(list(measures), judged, ranked):
        values[metric.query_id][measures[metric.measure]] = float(metric.value)
    return values


def _score(values: np.ndarray[Any, np.dtype[np.float64]]) -> Score:
    """Mean and percentile bootstrap; the same numbers each time."""
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return Score(float(values.mean()), float(low), float(high))
