"""Worker processes that read PDFs under limits of time and memory, and are really killed when over them.

Pebble does the killing: a time-out of the standard library's pool leaves the worker running, and one crash there breaks
the whole pool.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from kb.config import ExtractionSettings
from kb.extract.spawning import QuietSpawnContext
from kb.extract.worker import MEMORY_EXIT, read_into_spool, recover, start_worker
from kb.types import DocumentStatus, ExtractedDocument

__all__ = ["ExtractionPool"]

_DOCUMENTS_PER_WORKER = 200  # then a fresh process: what an engine leaks ends with it
_RECOVERY_SECONDS = 60.0
_STARTS = 2  # how often a document is tried when the pool itself breaks


class ExtractionPool:
    """A bounded number of worker processes. They start with the first document. Use as a context manager."""

    def __init__(self, settings: ExtractionSettings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._pool: ProcessPool | None = None
        self._spools: tempfile.TemporaryDirectory[str] | None = None
        self._names = count()
        self._unfinished: set[Future[ExtractedDocument]] = set()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def workers(self) -> int:
        """How many documents are read at once."""
        return self._settings.workers or len(os.sched_getaffinity(0))

    def submit(self, path: Path) -> Future[ExtractedDocument]:
        """Read `path` in a worker. The future has a document for every file, however bad; cancelling it stops that."""
        future: Future[ExtractedDocument] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the extraction pool is closed")
            self._unfinished.add(future)
            future.add_done_callback(self._forget)
            self._schedule(future, path, _STARTS)
        return future

    def close(self) -> None:
        """Stop: what is unfinished is cancelled, and the workers are gone when this returns."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            spools, self._spools = self._spools, None
        for future in list(self._unfinished):
            future.cancel()
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()
        if spools is not None:
            spools.cleanup()

    def _forget(self, future: Future[ExtractedDocument]) -> None:
        self._unfinished.discard(future)
        if future.cancelled():
            future.set_running_or_notify_cancel()  # else those who wait for it with others never hear of it

    def _schedule(self, future: Future[ExtractedDocument], path: Path, starts: int) -> None:
        pool, folder = self._running()
        spool = Path(folder) / str(next(self._names))
        task = pool.schedule(read_into_spool, args=(path, self._settings, spool), timeout=self._settings.timeout)
        future.add_done_callback(partial(_cancel_too, task))
        task.add_done_callback(lambda done: self._done(done, future, path, spool, starts))

    def _running(self) -> tuple[ProcessPool, str]:
        if self._spools is None:
            self._spools = tempfile.TemporaryDirectory(prefix="pdf-pages-", ignore_cleanup_errors=True)
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self.workers,
                max_tasks=_DOCUMENTS_PER_WORKER,
                initializer=start_worker,
                initargs=(self._settings.memory_mb,),
                context=QuietSpawnContext(),
            )
        return self._pool, self._spools.name

    def _done(self, task: Future[Any], future: Future[ExtractedDocument], path: Path, spool: Path, starts: int) -> None:
        if future.cancelled() or task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._settle(future, task.result(), spool)
        elif isinstance(error, BrokenProcessPool) and starts > 1:
            self._restart(future, path, starts)
        elif isinstance(error, BrokenProcessPool):
            _fail(future, error)
        else:
            self._recover(future, path, spool, *self._verdict(error))

    def _restart(self, future: Future[ExtractedDocument], path: Path, starts: int) -> None:
        """A worker died between two documents, and Pebble gave the pool up: go on with a new one."""
        with self._lock:
            if self._closed:
                return
            if self._pool is not None and not self._pool.active:
                self._pool = None
            self._schedule(future, path, starts - 1)

    def _recover(
        self, future: Future[ExtractedDocument], path: Path, spool: Path, status: DocumentStatus, reason: str
    ) -> None:
        """Make a document of the pages that were finished, in a worker again: the file was stopped once already."""

        def recovered(task: Future[Any]) -> None:
            if not task.cancelled():
                failed = ExtractedDocument(str(path), status, reason=reason)
                self._settle(future, failed if task.exception() else task.result(), spool)

        with self._lock:
            if self._closed:
                return
            pool = self._running()[0]
        task = pool.schedule(recover, args=(path, spool, status, reason), timeout=_RECOVERY_SECONDS)
        task.add_done_callback(recovered)

    def _settle(self, future: Future[ExtractedDocument], document: ExtractedDocument, spool: Path) -> None:
        with suppress(OSError):
            spool.unlink()
        with suppress(RuntimeError):  # cancelled at this very moment
            if not future.cancelled() and future.set_running_or_notify_cancel():
                future.set_result(document)

    def _verdict(self, error: BaseException) -> tuple[DocumentStatus, str]:
        """Status and reason of a document whose worker was stopped or died."""
        settings = self._settings
        if isinstance(error, TimeoutError):
            return DocumentStatus.OVER_LIMIT, f"not read within extraction.timeout ({settings.timeout:g} s)"
        if isinstance(error, ProcessExpired):
            code = error.exitcode
            if code in (MEMORY_EXIT, -signal.SIGKILL):
                return DocumentStatus.OVER_LIMIT, f"needs more than extraction.memory_mb ({settings.memory_mb} MB)"
            ended = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            return DocumentStatus.CORRUPT, f"the reader crashed on it ({ended})"
        return DocumentStatus.CORRUPT, f"the reader failed on it ({type(error).__name__})"


def _cancel_too(task: Future[Any], future: Future[ExtractedDocument]) -> None:
    if future.cancelled():
        task.cancel()


def _fail(future: Future[ExtractedDocument], error: BaseException) -> None:
    with suppress(RuntimeError):
        if not future.cancelled() and future.set_running_or_notify_cancel():
            future.set_exception(error)
