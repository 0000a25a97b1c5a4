"""How worker processes are started: afresh, deaf to Ctrl-C, and without running the user's script again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import spawn
from multiprocessing.context import SpawnContext, SpawnProcess
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
            data.pop("init_main_from_path", None)
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
