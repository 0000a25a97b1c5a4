"""What a knowledge base can find out about itself: how good its search is, and which settings would suit better."""

from __future__ import annotations

import os
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from kb.config import CacheSettings, Settings
from kb.config_file import write_sections
from kb.embed import Embedder, open_cache
from kb.errors import ConfigurationError, QueryError
from kb.evaluate import EVALUATION_DEPTH, Evaluation, evaluate
from kb.questions import Question, pages_to_ask_about, questions_from_headings, read_questions, write_questions
from kb.search import Reranker
from kb.store import Store
from kb.tune import EndpointTuning, RetrievalTuning, tune_endpoint, tune_retrieval
from kb.tune.endpoint import BATCH_SIZES, CONCURRENCIES
from kb.tune.retrieval import GRID as RETRIEVAL_GRID
from kb.types import Hit, Progress, draw_nothing
from kb.writer import questions_by_model

__all__ = ["Measuring"]

# Enough for every batch size, and that no batch is like the last one.
TUNING_TEXTS = 1024
MADE_UP_TEXT = "The operating margin fell because freight and energy cost more than a year before. " * 10


class Measuring:
    """Evaluation and tuning, for `KnowledgeBase`."""

    settings: Settings
    store: Store
    _config_file: Path | None

    @property
    @abstractmethod
    def embedder(self) -> Embedder: ...

    @abstractmethod
    def search(
        self, query: str, *, k: int | None = None, mode: str | None = None, rerank: bool | None = None
    ) -> Sequence[Hit]: ...

    @abstractmethod
    def _stores(self, collections: Sequence[str]) -> list[Store]: ...

    @abstractmethod
    def _reranker_for(self, rerank: bool | None) -> Reranker | None: ...

    def evaluate(
        self,
        questions: str | os.PathLike[str] | Sequence[Question],
        *,
        modes: Sequence[str] = (),
        rerank: bool | None = None,
        draw: Callable[[Progress], None] = draw_nothing,
    ) -> Evaluation:
        """How well questions with known pages are answered, for each mode (all three unless some are named).

        Raises QueryError for a file or mode that is none, StoreError or EndpointError.
        """
        asked = read_questions(questions) if isinstance(questions, (str, os.PathLike)) else list(questions)
        searches = {
            mode: partial(self.search, k=EVALUATION_DEPTH, mode=mode, rerank=rerank)
            for mode in modes or ("hybrid", "vector", "text")
        }
        self._stores(())
        return evaluate(asked, searches, documents=self.store.documents(), draw=draw)

    def tune_retrieval(
        self,
        questions: str | os.PathLike[str] | Sequence[Question],
        *,
        grid: Mapping[str, Sequence[Any]] = RETRIEVAL_GRID,
        draw: Callable[[Progress], None] = draw_nothing,
        show: Callable[[RetrievalTuning], None] = lambda _: None,
    ) -> RetrievalTuning:
        """Tries chunkings and weights on questions with known pages; the collection stays as it is.

        Raises QueryError for a file that is none, SourceError where the documents' files are gone, StoreError or
        EndpointError.
        """
        asked = read_questions(questions) if isinstance(questions, (str, os.PathLike)) else list(questions)
        self._stores(())
        with self._remembering() as endpoint:
            return tune_retrieval(
                self.settings,
                asked,
                documents=[path for path, document in self.store.documents().items() if document.status.has_text],
                endpoint=endpoint,
                reranker=self._reranker_for(None),
                grid=grid,
                draw=draw,
                show=show,
            )

    @contextmanager
    def _remembering(self) -> Iterator[Embedder]:
        """The endpoint's client; where the cache is switched off, one with a cache that goes with it."""
        if self.settings.cache.enabled:
            yield self.embedder
            return
        with tempfile.TemporaryDirectory(prefix="pdfkb-cache-") as folder:
            cache = open_cache(CacheSettings(), folder=Path(folder))
            with Embedder(self.settings.embedder, cache=cache) as endpoint:
                yield endpoint

    def tune_endpoint(
        self,
        *,
        batch_sizes: Sequence[int] = (),
        concurrencies: Sequence[int] = (),
        dtypes: Sequence[str] = (),
        seconds: float = 3.0,
        draw: Callable[[Progress], None] = draw_nothing,
        show: Callable[[EndpointTuning], None] = lambda _: None,
    ) -> EndpointTuning:
        """Measures the endpoint with passages of the collection, or with made-up ones. Raises EndpointError."""
        sample = self.store.sample(["searched_text"], TUNING_TEXTS)
        texts = sample["searched_text"].to_pylist() if sample is not None else [MADE_UP_TEXT] * TUNING_TEXTS
        return tune_endpoint(
            self.settings.embedder,
            texts,
            batch_sizes=batch_sizes or BATCH_SIZES,
            concurrencies=concurrencies or CONCURRENCIES,
            dtypes=dtypes,
            seconds=seconds,
            draw=draw,
            show=show,
        )

    def write_settings(self, changes: Mapping[str, Mapping[str, Any]]) -> Path:
        """Writes settings, section by section, into the configuration file in use. Raises ConfigurationError."""
        if self._config_file is None:
            fix = "Name one by --config, or set them by PDF_KNOWLEDGE__SECTION__KEY."
            raise ConfigurationError("there is no configuration file to write to", fix=fix)
        write_sections(self._config_file, changes)
        return self._config_file

    def make_questions(
        self, file: str | os.PathLike[str], *, count: int = 100, by_model: bool = False
    ) -> list[Question]:
        """A first set of questions from the documents' headings and captions, or written by writer.

        Raises QueryError where there is nothing to ask about, StoreError or EndpointError.
        """
        self._stores(())
        if by_model:
            made = questions_by_model(self.settings.writer, pages_to_ask_about(self.store, count))
        else:
            made = questions_from_headings(self.store, count)
        if not made:
            fix = "Write some by hand, or mark hits in the search notebook."
            raise QueryError("no heading or caption stands on one page only", where=self.store.uri, fix=fix)
        write_questions(made, file)
        return made
