"""Which chunking and which weights answer one's own questions best: tried one key after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from kb.config import Settings, StorageSettings
from kb.embed import Embedder
from kb.errors import QueryError, SourceError
from kb.evaluate import EVALUATION_DEPTH, Score, evaluate, gain
from kb.extract import ExtractionPool
from kb.html import render
from kb.ingest import ingest
from kb.questions import Question
from kb.search import Reranker, search
from kb.shown import Shown
from kb.store import Store
from kb.tune.charts import quality_against_cost
from kb.types import Hit, Progress, Vector

__all__ = ["GRID", "RetrievalTrial", "RetrievalTuning", "tune_retrieval"]

# What is tried, key by key, the best so far kept: what is embedded first, then how it is searched.
GRID: Mapping[str, Sequence[Any]] = {
    "chunking.max_tokens": (120, 200, 300),
    "chunking.overlap": (0, 40),
    "chunking.context": (True, False),
    "search.vector_weight": (0.25, 0.5, 0.75, 1.0),
    "search.page_weight": (0.5, 1.0, 1.5),
    "search.pair_weight": (0.0, 0.3),
    "search.name_weight": (0.0, 0.5, 1.0),
    "search.candidates": (50, 100, 200),
}
RERANK = "rerank"
TRIED_SECTIONS = ("chunking", "search")
# Parts of the questions that each judge what the others chose.
FOLDS = 10


@dataclass(frozen=True, slots=True)
class RetrievalTrial:
    """One set of settings, and what came of it. `bytes` are those of the index, `milliseconds` a median."""

    settings: Mapping[str, Any]
    ndcg: Score
    recall: Score
    milliseconds: float
    bytes: int
    chunks: int
    per_question: tuple[float, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The trial as data: nDCG@10 and recall@5 of pages, with their 95 % intervals."""
        return {
            "settings": dict(self.settings),
            "nDCG@10": round(self.ndcg.mean, 4),
            "nDCG@10_interval": [round(self.ndcg.low, 4), round(self.ndcg.high, 4)],
            "recall@5": round(self.recall.mean, 4),
            "milliseconds": round(self.milliseconds, 1),
            "bytes": self.bytes,
            "chunks": self.chunks,
        }


@dataclass(frozen=True)
class RetrievalTuning(Shown):
    """Every trial; the first is how things are. `missing` are documents whose files are gone, left out of it."""

    trials: tuple[RetrievalTrial, ...]
    questions: int
    missing: tuple[str, ...] = ()

    @property
    def best(self) -> RetrievalTrial:
        """The trial with the best nDCG@10, the earlier one of equals."""
        return max(self.trials, key=lambda trial: trial.ndcg.mean)

    @cached_property
    def gain(self) -> Score:
        """How much better the choice is than how things are, question by question, with its 95 % interval.

        The best of many trials is in part the luckiest. So a tenth of the questions judges what the others choose.
        """
        values = np.asarray([trial.per_question for trial in self.trials])
        chosen = values[0].copy()
        for fold in range(FOLDS):
            judging = np.arange(values.shape[1]) % FOLDS == fold
            if judging.any() and not judging.all():
                chosen[judging] = values[values[:, ~judging].mean(axis=1).argmax(), judging]
        return gain(values[0].tolist(), chosen.tolist())

    @property
    def is_certain(self) -> bool:
        """Whether the gain is more than chance."""
        return self.gain.low > 0

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """What the best changes, section by section, as the configuration has it."""
        changes: dict[str, dict[str, Any]] = {}
        for key, value in self.best.settings.items():
            section, _, name = key.partition(".")
            if name and value != self.trials[0].settings[key]:
                changes.setdefault(section, {})[name] = value
        return changes

    @property
    def advice(self) -> str:
        """What to do, in one sentence."""
        if self.best is self.trials[0]:
            return "Nothing that was tried is better than the settings as they are."
        flat = [(f"{section}.{key}", value) for section, keys in self.changes.items() for key, value in keys.items()]
        if not self.best.settings.get(RERANK, True):
            flat.append(("reranker.base_url", "null (no reranking)"))
        told = ", ".join(f"{key} = {value}" for key, value in flat)
        better = f"{self.gain.mean:+.3f} nDCG@10 (95 % interval {self.gain.low:+.3f} to {self.gain.high:+.3f})"
        if self.is_certain:
            return f"{told}: {better}."
        return f"{told}: {better}, which may be chance: keep the settings, or ask more questions."

    def to_dict(self) -> dict[str, Any]:
        """The tuning as `kb tune retrieval --json` prints it."""
        return {
            "questions": self.questions,
            "missing": list(self.missing),
            "trials": [trial.to_dict() for trial in self.trials],
            "best": dict(self.best.settings),
            "changes": self.changes,
            "gain": [round(value, 4) for value in (self.gain.mean, self.gain.low, self.gain.high)],
            "certain": self.is_certain,
            "advice": self.advice,
        }

    def _repr_html_(self) -> str:
        return render("retrieval_tuning.html", tuning=self, picture=quality_against_cost(self.trials, self.best))

    def to_text(self) -> str:
        """The result where there is no HTML."""
        return self.advice


def tune_retrieval(
    settings: Settings,
    questions: Sequence[Question],
    *,
    documents: Sequence[str],
    endpoint: Embedder,
    reranker: Reranker | None = None,
    grid: Mapping[str, Sequence[Any]] = GRID,
    draw: Callable[[Progress], None] = lambda _: None,
    show: Callable[[RetrievalTuning], None] = lambda _: None,
) -> RetrievalTuning:
    """Tries the grid key by key on copies of the collection, which itself stays as it is; `show` sees every step.

    No text is embedded twice: passages come from the embedding cache, queries are kept. Raises QueryError for a grid
    that cannot be tried, SourceError where no document is there any more, EndpointError or StoreError.
    """
    for key, values in grid.items():
        for value in values:
            _changed(settings, {key: value})
    there = [path for path in documents if Path(path).is_file()]
    if not there:
        raise SourceError("none of the collection's files is there any more", fix="Put them back, or ingest others.")
    missing = tuple(sorted(set(documents) - set(there)))
    grid = {**({RERANK: (True, False)} if reranker is not None else {}), **grid}  # with it is how things are
    with tempfile.TemporaryDirectory(prefix="pdfkb-tune-") as folder:
        workshop = _Workshop(settings, questions, there, endpoint, reranker, folder)
        start = {key: True if key == RERANK else _value(settings, key) for key in grid}
        trials = [workshop.tried(start)]
        total = 1 + sum(len(set(values) - {start[key]}) for key, values in grid.items())
        for key, value in _steps(grid, start):
            best = max(trials, key=lambda trial: trial.ndcg.mean)
            draw(Progress(len(trials), total, "trying", f"{key} = {value}"))
            trials.append(workshop.tried({**best.settings, key: value}))
            show(RetrievalTuning(tuple(trials), len(questions), missing))
    return RetrievalTuning(tuple(trials), len(questions), missing)


def _steps(grid: Mapping[str, Sequence[Any]], start: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, values in grid.items():
        for value in values:
            if value != start[key]:
                yield key, value


def _value(settings: Settings, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)


def _changed(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with other values, checked. Raises QueryError."""
    for key, value in values.items():
        section, _, name = key.partition(".")
        part = getattr(settings, section, None) if section in TRIED_SECTIONS else None
        if part is None or name not in type(part).model_fields:
            fix = f"Try keys of {' and '.join(TRIED_SECTIONS)}, such as {', '.join(list(GRID)[:3])}."
            raise QueryError(f"{key[:60]!r} cannot be tried", where="tune retrieval", fix=fix)
        try:
            checked = type(part).model_validate(part.model_dump() | {name: value})
        except ValidationError as error:
            what = f"{str(value)[:40]!r} cannot be: {error.errors()[0]['msg']}"
            raise QueryError(what, where=f"tune retrieval: {key}", fix="Try other values.") from None
        settings = settings.model_copy(update={section: checked})
    return settings


class _Workshop:
    """Copies of the collection, one for each chunking, and the vectors of the questions."""

    def __init__(
        self,
        settings: Settings,
        questions: Sequence[Question],
        documents: Sequence[str],
        endpoint: Embedder,
        reranker: Reranker | None,
        folder: str,
    ) -> None:
        self._settings, self._questions, self._documents = settings, questions, documents
        self._endpoint, self._reranker, self._folder = endpoint, reranker, folder
        self._stores: dict[tuple[Any, ...], Store] = {}
        self._vectors: dict[str, Vector] = {}

    def tried(self, values: Mapping[str, Any]) -> RetrievalTrial:
        changed = _changed(self._settings, {key: value for key, value in values.items() if key != RERANK})
        store = self._store(changed)
        deep = changed.search.model_copy(update={"limit": EVALUATION_DEPTH})
        reranker = self._reranker if values.get(RERANK) else None

        def ask(query: str) -> list[Hit]:
            return search([store], query, embed_query=self._vector, settings=deep, reranker=reranker)

        [result] = evaluate(self._questions, {"tried": ask}, documents=store.documents()).modes
        scores = result.page or result.document
        numbers = store.statistics()
        return RetrievalTrial(
            settings=dict(values),
            ndcg=scores["nDCG@10"],
            recall=scores["recall@5"],
            milliseconds=result.milliseconds["p50"],
            bytes=numbers.bytes,
            chunks=numbers.chunks,
            per_question=tuple((one.page or one.document)["nDCG@10"] for one in result.answered),
        )

    def _store(self, settings: Settings) -> Store:
        key = tuple(settings.chunking.model_dump().values())
        if key not in self._stores:
            store = Store(StorageSettings(uri=self._folder, collection=f"trial{len(self._stores)}"))
            with ExtractionPool(settings.extraction) as extractor:
                ingest(self._documents, settings=settings, endpoint=self._endpoint, extractor=extractor, store=store)
            self._stores[key] = store
        return self._stores[key]

    def _vector(self, query: str) -> Vector:
        if query not in self._vectors:
            self._vectors[query] = self._endpoint.embed_query(query)
        return self._vectors[query]
