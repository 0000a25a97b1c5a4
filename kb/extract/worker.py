"""What runs in a worker process: reading under limits, every finished page put down where the parent finds it."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any, BinaryIO, Self

from kb.config import ExtractionSettings
from kb.extract.document import finish, refused
from kb.extract.layout import RawPage
from kb.extract.reading import Reading, RefusedError, read_document
from kb.garbage import without_collection
from kb.types import DocumentStatus, ExtractedDocument, PageStatus

__all__ = ["MEMORY_EXIT", "read_into_spool", "recover", "resume", "start_worker"]

MEMORY_EXIT = 77  # the exit status of a worker that stopped because of its memory
_SAMPLING_SECONDS = 0.05
_MIB = 1024 * 1024
_ADDRESS_SPACE, _RESIDENT = 0, 1  # fields of /proc/self/statm
_MUCH_MEMORY = 200 * _MIB
_GRACE_SECONDS = 10.0  # after the time limit the parent kills; after this much more the kernel does


def start_worker(memory_mb: int, spools: str) -> None:
    """Set this process's limits, and see to it that it ends with its parent, however that ended."""
    with suppress(OSError):
        # Linux shares processors among sessions first, where it is not told otherwise: in its parent's a worker, which
        # everything waits for, is one of a dozen threads. Nor does Ctrl-Z stop it while its time for the document runs.
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, also in the middle of an engine's loop
    with suppress(ValueError, OSError):
        # Twice, because address space is not memory; and because a failed allocation ends in a crash of pdfium that
        # says nothing of its cause, while `_watch` sees a worker grow and says so.
        limit = _memory(_ADDRESS_SPACE) + 2 * memory_mb * _MIB
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_watch, args=(memory_mb * _MIB, spools), daemon=True).start()


def read_into_spool(path: Path, settings: ExtractionSettings, spool: Path) -> ExtractedDocument:
    """The document at `path`. Each page goes into the file `spool` as soon as it is read."""
    spool.unlink(missing_ok=True)
    with _limited(settings), _Spool(spool) as kept:
        return _document(path, lambda: read_document(path, settings, on_open=kept.put, on_page=kept.put))


def resume(
    path: Path, settings: ExtractionSettings, spool: Path, status: DocumentStatus, reason: str
) -> ExtractedDocument:
    """Go on after the page that ended the worker before, for `reason`; `status` where it had not opened the file."""
    items = list(_items(spool))
    if not items or not isinstance(items[0], Reading):
        return refused(path, RefusedError(status, reason))
    known = [*items[1:], _failed(len(items), reason)][: items[0].page_count]
    with _limited(settings), _Spool(spool) as kept:
        kept.put(known[-1])
        return _document(path, lambda: read_document(path, settings, on_page=kept.put, known=known))


def recover(path: Path, spool: Path, status: DocumentStatus, reason: str) -> ExtractedDocument:
    """What a worker that was stopped had finished: the document with its other pages as failed, or `status`."""
    items = list(_items(spool))
    reading = items[0] if items else None
    if not isinstance(reading, Reading):
        return refused(path, RefusedError(status, reason))
    pages = items[1 : reading.page_count + 1]
    if not any(page.lines for page in pages):
        return refused(path, RefusedError(status, reason, reading.page_count))
    reading.pages = pages + [_failed(number, reason) for number in range(len(pages) + 1, reading.page_count + 1)]
    return finish(path, reading)


def _failed(number: int, reason: str) -> RawPage:
    return RawPage(number, str(number), [], status=PageStatus.FAILED, note=reason)


def _document(path: Path, read: Callable[[], Reading]) -> ExtractedDocument:
    try:
        with without_collection():
            return finish(path, read())
    except RefusedError as refusal:
        return refused(path, refusal)
    except MemoryError:
        os._exit(MEMORY_EXIT)


@contextmanager
def _limited(settings: ExtractionSettings) -> Iterator[None]:
    """With a last limit of time, which the kernel keeps should the parent be gone."""
    _give_back_memory()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout + _GRACE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class _Spool:
    """A file of pickled items, written at once. It does without where the disk is full: it is for accidents only."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO | None = None
        with suppress(OSError):
            self._file = path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def put(self, item: Any) -> None:
        """Append `item`."""
        try:
            if self._file:
                pickle.dump(item, self._file, pickle.HIGHEST_PROTOCOL)
                self._file.flush()
        except OSError:
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        with suppress(OSError):
            if file:
                file.close()


def _items(spool: Path) -> Iterator[Any]:
    with suppress(Exception), spool.open("rb") as file:
        while True:
            yield pickle.load(file)


def _give_back_memory() -> None:
    """Return what the document before has left, so that it does not count against the next one."""
    if _memory(_RESIDENT) > _MUCH_MEMORY:
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _memory(field: int) -> int:
    """Bytes of address space or of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()


def _watch(memory: int, spools: str) -> None:
    """End the process once its parent is gone, or once it holds more than `memory` bytes.

    Not prctl(PR_SET_PDEATHSIG): that fires when the thread ends that started the process.
    """
    parent = parent_process()
    sentinels = [parent.sentinel] if parent else []
    while True:
        if sentinels and connection.wait(sentinels, timeout=_SAMPLING_SECONDS):
            shutil.rmtree(spools, ignore_errors=True)
            os._exit(0)
        if not sentinels:
            time.sleep(_SAMPLING_SECONDS)
        with suppress(OSError, ValueError):
            if _memory(_RESIDENT) > memory:
                os._exit(MEMORY_EXIT)
