"""Worker processes that read PDFs under limits of time and memory, and are really killed when over them.

Pebble does the killing: a time-out of the standard library's pool leaves the worker running, and one crash there breaks
the whole pool.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from kb.config import ExtractionSettings
from kb.extract.spawning import QuietSpawnContext
from kb.extract.worker import MEMORY_EXIT, read_into_spool, recover, resume, start_worker
from kb.types import DocumentStatus, ExtractedDocument

__all__ = ["ExtractionPool"]

_DOCUMENTS_PER_WORKER = 200  # then a fresh process: what an engine leaks ends with it
_RECOVERY_SECONDS = 60.0


@dataclass(slots=True)
class _Job:
    """A document on its way through the pool."""

    future: Future[ExtractedDocument]
    path: Path
    spool: Path
    restarts: int = 1  # how often it is tried again when the pool itself breaks
    resumes: int = 2  # how often it goes on after a page that ended its worker
    recovering: bool = False

    def settle(self, document: ExtractedDocument) -> None:
        """Give `document` to whoever waits for it."""
        with suppress(OSError):
            self.spool.unlink()
        with suppress(RuntimeError):  # cancelled at this very moment
            if not self.future.cancelled() and self.future.set_running_or_notify_cancel():
                self.future.set_result(document)

    def fail(self, error: BaseException) -> None:
        """Tell whoever waits that workers cannot be had."""
        with suppress(RuntimeError):
            if not self.future.cancelled() and self.future.set_running_or_notify_cancel():
                self.future.set_exception(error)


class ExtractionPool:
    """A bounded number of worker processes. They start with the first document. Use as a context manager."""

    def __init__(self, settings: ExtractionSettings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._pool: ProcessPool | None = None
        self._spools: tempfile.TemporaryDirectory[str] | None = None
        self._ending: list[threading.Thread] = []
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
            self._read(_Job(future, path, Path(self._running()[1]) / str(next(self._names))))
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
            _end(pool)
        for ending in self._ending:
            ending.join()
        if spools is not None:
            spools.cleanup()

    def _forget(self, future: Future[ExtractedDocument]) -> None:
        self._unfinished.discard(future)
        if future.cancelled():
            future.set_running_or_notify_cancel()  # else those who wait for it with others never hear of it

    def _schedule(self, job: _Job, function: Callable[..., ExtractedDocument], *arguments: Any, timeout: float) -> None:
        """Run `function` in a worker, and look after what becomes of it. Does nothing once the pool is closed."""
        with self._lock:
            if self._closed:
                return
            pool = self._running()[0]
            try:
                task = pool.schedule(function, args=arguments, timeout=timeout)
            except RuntimeError as error:  # it broke, and nobody had asked it for anything since
                self._restart(job, error)
                return
        job.future.add_done_callback(partial(_cancel_too, task))
        task.add_done_callback(partial(self._done, job))

    def _read(self, job: _Job) -> None:
        self._schedule(job, read_into_spool, job.path, self._settings, job.spool, timeout=self._settings.timeout)

    def _running(self) -> tuple[ProcessPool, str]:
        if self._spools is None:
            self._spools = tempfile.TemporaryDirectory(prefix="pdf-pages-", ignore_cleanup_errors=True)
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self.workers,
                max_tasks=_DOCUMENTS_PER_WORKER,
                initializer=start_worker,
                initargs=(self._settings.memory_mb, self._spools.name),
                context=QuietSpawnContext(),
            )
        return self._pool, self._spools.name

    def _done(self, job: _Job, task: Future[Any]) -> None:
        if job.future.cancelled() or task.cancelled():
            return
        error = task.exception()
        if error is None:
            job.settle(task.result())
        elif isinstance(error, BrokenProcessPool):
            self._restart(job, error)
        else:
            self._after_accident(job, error)

    def _restart(self, job: _Job, error: BaseException) -> None:
        """A worker died between two documents, and Pebble gave the pool up: go on with a new one."""
        job.restarts -= 1
        if job.restarts < 0:
            job.fail(error)
            return
        with self._lock:
            if self._pool is not None and not self._pool.active:
                broken, self._pool = self._pool, None
                # Its other workers are alive. In a thread, for this one may be one that ending it waits for.
                self._ending.append(threading.Thread(target=_end, args=(broken,)))
                self._ending[-1].start()
        self._read(job)

    def _after_accident(self, job: _Job, error: BaseException) -> None:
        """A worker was stopped or died over the document: go on after the bad page, or keep what was finished."""
        status, reason = self._verdict(error)
        settings = self._settings
        if isinstance(error, ProcessExpired) and job.resumes > 0:
            job.resumes -= 1
            self._schedule(job, resume, job.path, settings, job.spool, status, reason, timeout=settings.timeout)
        elif not job.recovering:
            job.recovering = True
            self._schedule(job, recover, job.path, job.spool, status, reason, timeout=_RECOVERY_SECONDS)
        else:
            job.settle(ExtractedDocument(str(job.path), status, reason=reason))

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


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
