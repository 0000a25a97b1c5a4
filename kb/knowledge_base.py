"""The library's front door: one object for a configuration, the same for notebooks, the command line and papermill."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from kb.config import Settings
from kb.config_file import find_file
from kb.embed import Embedder, Reranker, open_cache
from kb.errors import QueryError, SourceError, StoreError
from kb.explain import DEPTH, Explanation, Finding, explain
from kb.extract import ExtractionPool
from kb.health import Check, diagnose
from kb.ingest import ingest
from kb.judgements import Judgements
from kb.keeping import Keeping
from kb.logs import configure_logging
from kb.measuring import Measuring
from kb.page_view import PageView, view_page
from kb.preview import IngestPreview, preview
from kb.report import IngestReport
from kb.results import SearchResult, Status
from kb.search import search
from kb.similar import more_like
from kb.sources import within
from kb.space import check_space, space_of
from kb.store import Filter, Store, parse_condition, parse_date, parse_pages
from kb.trouble import collection_findings
from kb.types import Hit, Progress, Vector, draw_nothing

__all__ = ["KnowledgeBase"]


class KnowledgeBase(Measuring, Keeping):
    """Ingest PDFs, ask them questions. Use it as a context manager, or `close` it."""

    def __init__(self, settings: Settings, *, config_file: Path | None = None) -> None:
        self.settings = settings
        self._config_file = config_file
        self.store = Store(settings.storage)
        self._embedder: Embedder | None = None
        self._reranker: Reranker | None = None
        self._opened = {settings.storage.collection: self.store}
        self._spaces_checked: set[str] = set()

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None, /, **arguments: Mapping[str, Any]) -> Self:
        """A knowledge base for a configuration file (see `Settings.load`); `arguments` are sections: `storage={…}`.

        Raises ConfigurationError. Nothing is sent or written yet.
        """
        settings = Settings.load(path, **arguments)
        configure_logging(settings.logging)
        return cls(settings, config_file=find_file(path))

    def ingest(
        self,
        *paths: str | os.PathLike[str],
        prune: bool = False,
        retry_failed: bool = False,
        draw: Callable[[Progress], None] = draw_nothing,
        stop: Callable[[], bool] = lambda: False,
    ) -> IngestReport:
        """Brings the collection up to date with files and folders; `prune` also forgets vanished files under them.

        Once `stop` says so it ends between two documents. Raises SourceError, EndpointError or StoreError where
        nothing could be done.
        """
        with ExtractionPool(self.settings.extraction) as extractor:
            return ingest(
                paths,
                settings=self.settings,
                endpoint=self.embedder,
                extractor=extractor,
                store=self.store,
                prune=prune,
                retry_failed=retry_failed,
                draw=draw,
                stop=stop,
            )

    def preview(self, *paths: str | os.PathLike[str], prune: bool = False, retry_failed: bool = False) -> IngestPreview:
        """What an ingest of these files and folders would do. Raises as `ingest` does."""
        return preview(
            paths,
            settings=self.settings,
            endpoint=self.embedder,
            store=self.store,
            prune=prune,
            retry_failed=retry_failed,
        )

    @property
    def uploads(self) -> Path:
        """Where files are kept that were given to a notebook: no collection can have this name."""
        return (Path(self.settings.storage.uri) if self.store.is_local else Path.cwd()) / ".uploads"

    def search(
        self,
        query: str,
        *,
        k: int | None = None,
        mode: str | None = None,
        documents: str | Sequence[str] = (),
        pages: str = "",
        after: str = "",
        before: str = "",
        title: str = "",
        where: str | Sequence[str] = (),
        collections: str | Sequence[str] = (),
        rerank: bool | None = None,
    ) -> SearchResult:
        """The best `k` passages for a question, each with document and page.

        Narrow it with `documents` (paths, file names or patterns), `pages` ("3-9"), `after` and `before` (ISO dates,
        inclusive), `title` (part of it) and `where` (conditions such as "author~smith" and "page>=3"). `collections`
        are searched in place of storage.collection; `rerank` says whether the reranker is asked, which it is where
        one is configured. Raises QueryError, StoreError or EndpointError.
        """
        stores = self._stores(_several(collections))
        chosen = {"limit": k, "mode": mode}
        settings = _changed(self.settings, "search", {key: value for key, value in chosen.items() if value is not None})
        first, last = parse_pages(pages) if pages else (None, None)
        narrowed = Filter(
            documents=_several(documents),
            title=title,
            after=parse_date(after) if after else None,
            before=parse_date(before, end_of_day=True) if before else None,
            first_page=first,
            last_page=last,
            conditions=tuple(parse_condition(condition) for condition in _several(where)),
        )
        hits = search(
            stores,
            query,
            embed_query=partial(self._embed_query, stores),
            settings=settings.search,
            where=narrowed,
            reranker=self._reranker_for(rerank),
        )
        return SearchResult(query, hits)

    def more_like(self, hit: Hit, *, k: int | None = None) -> SearchResult:
        """The passages most similar to one that was found. Raises StoreError."""
        return SearchResult(hit.text, more_like(self.store, hit, limit=k or self.settings.search.limit))

    def view_page(self, hit: Hit, *, page: int | None = None) -> PageView:
        """The hit's page, or another one of its document, as a picture with the passage marked. Raises PageError."""
        return view_page(
            hit, page or hit.page, documents=self.store.documents(), passwords=self.settings.extraction.passwords
        )

    def explain(self, query: str, *, document: str = "", page: int = 0) -> Explanation:
        """What each list ranked for a question, and why a document or page that was expected was missed.

        Raises QueryError, StoreError or EndpointError.
        """
        return explain(
            self.store,
            query,
            self.search(query, k=DEPTH),
            embed_query=partial(self._embed_query, [self.store]),
            candidates=self.settings.search.candidates,
            document=document,
            page=page,
        )

    def findings(self) -> list[Finding]:
        """What is in the way of good answers, in the collection and its last ingest. Raises StoreError."""
        return collection_findings(self.store)

    def judgements(self, file: str | os.PathLike[str] | None = None) -> Judgements:
        """Hits marked right or wrong: in this file, else in one beside the collection."""
        folder = Path(self.settings.storage.uri) if self.store.is_local else Path.cwd()
        return Judgements(Path(file) if file else folder / f"{self.settings.storage.collection}.questions.jsonl")

    def warm_up(self) -> None:
        """Finds out what the endpoint is and opens the tables, so that the next question need not wait for that.

        Raises EndpointError or StoreError.
        """
        if self.store.exists:
            self.search("warm", k=1)

    def status(self) -> Status:
        """What the collection holds; asks nothing of the endpoint."""
        known = space_of(self.store)
        documents = self.store.documents().values()
        latest = self.store.runs(1)
        return Status(
            store=self.store.uri,
            statistics=self.store.statistics(),
            model=known.model if known else "",
            dimension=known.dimension if known else 0,
            embedding=json.loads(latest[0].report)["embedding"] if latest else {},
            incomplete=tuple(
                document for document in documents if not document.status.has_text or document.pages_without_text
            ),
        )

    def remove(self, *names: str | os.PathLike[str]) -> list[str]:
        """Forgets documents by path, folder, file name or pattern; the files stay. Raises SourceError if none match."""
        gone = sorted(
            path for path in self.store.documents() if any(_is_named(path, os.fspath(name)) for name in names)
        )
        if not gone:
            fix = "kb status --documents lists what is there."
            raise SourceError("no such document in the collection", where=", ".join(map(str, names)), fix=fix)
        with self.store.writing():
            self.store.forget(gone)
            self.store.sweep()
            self.store.bring_up_to_date()
        return gone

    def diagnose(self) -> Iterator[Check]:
        """What is right and wrong with the endpoint, check by check, as each is made. Raises nothing."""
        return diagnose(self.settings, config_file=self._config_file)

    @property
    def embedder(self) -> Embedder:
        """The endpoint's client, made when first needed."""
        if self._embedder is None:
            folder = self._cache_folder()
            cache = open_cache(self.settings.cache, folder=folder)
            self._embedder = Embedder(self.settings.embedder, cache=cache, profile_folder=folder)
        return self._embedder

    def _embed_query(self, stores: Sequence[Store], text: str) -> Vector:
        for store in stores:
            if store.uri not in self._spaces_checked:
                check_space(store, self.embedder.space)
                self._spaces_checked.add(store.uri)
        return self.embedder.embed_query(text)

    def _stores(self, collections: Sequence[str]) -> list[Store]:
        """The stores of these collections, that of storage.collection where none is named. Raises StoreError."""
        for name in collections:
            if name not in self._opened:
                changed = _changed(self.settings, "storage", {"collection": name})
                self._opened[name] = Store(changed.storage)
        stores = [self._opened[name] for name in dict.fromkeys(collections)] or [self.store]
        for store in stores:
            if not store.exists:
                raise StoreError("nothing has been ingested yet", where=store.uri, fix="Run kb ingest FOLDER first.")
        return stores

    def _reranker_for(self, rerank: bool | None) -> Reranker | None:
        """Made when first needed. Raises QueryError where one is asked for and none is configured."""
        if self.settings.reranker.base_url is None:
            if rerank:
                raise QueryError("no reranker is configured", where="rerank", fix="Set reranker.base_url.")
            return None
        if rerank is False:
            return None
        if self._reranker is None:
            self._reranker = Reranker(self.settings.reranker)
        return self._reranker

    def _cache_folder(self) -> Path:
        """Beside the collections; for object storage in the user's cache."""
        if self.store.is_local:
            return Path(self.settings.storage.uri) / ".cache"
        return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pdf-knowledge"

    def close(self) -> None:
        """Closes the connections to the endpoint."""
        if self._embedder is not None:
            self._embedder.close()
            self._embedder = None
        if self._reranker is not None:
            self._reranker.close()
            self._reranker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _several(values: str | Sequence[str]) -> tuple[str, ...]:
    return ((values,) if values else ()) if isinstance(values, str) else tuple(values)


def _is_named(path: str, name: str) -> bool:
    return within(path, [name]) or fnmatchcase(path.rsplit("/", 1)[-1], name)


def _changed(settings: Settings, section: str, values: Mapping[str, Any]) -> Settings:
    """Settings with some values of a section changed and checked. Raises QueryError."""
    current = getattr(settings, section)
    try:
        changed = type(current).model_validate(current.model_dump() | dict(values))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise QueryError(problem["msg"], where=str(problem["loc"][0]), fix="Choose another value.") from None
    return settings.model_copy(update={section: changed})
