"""How worker processes are started: afresh, deaf to Ctrl-C, and without running the user's script again.

They run this file instead of that script, which is where `sys.excepthook` is set.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from types import TracebackType
from typing import Any

__all__ = ["QuietSpawnContext"]

_LOCK = threading.Lock()


class _QuietProcess(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _LOCK, _without_main(), _without_interrupts():
            return SpawnProcess._Popen(process_obj)


class QuietSpawnContext(SpawnContext):
    """The spawn method, for workers that need nothing of the program that starts them."""

    Process = _QuietProcess


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that this thread starts do not import its main module.

    A script without the `if __name__ == "__main__"` guard would be run again in each worker.
    """
    original = spawn.get_preparation_data
    thread = threading.get_ident()

    def preparation_data(name: str) -> dict[str, Any]:
        data = original(name)
        if threading.get_ident() == thread:
            data.pop("init_main_from_name", None)
            data["init_main_from_path"] = __file__
        return data

    spawn.get_preparation_data = preparation_data
    try:
        yield
    finally:
        spawn.get_preparation_data = original


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that this thread starts have SIGINT blocked: a Ctrl-C while they start prints no traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _but_for_a_parent_gone(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what a process failed with, unless it was still starting while its parent let go of its pipe and locks."""
    if not issubclass(kind, (EOFError, FileNotFoundError)):
        sys.__excepthook__(kind, error, trace)


if __name__ == "__mp_main__":
    sys.excepthook = _but_for_a_parent_gone
