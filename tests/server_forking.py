"""Servers that begin where `python -m server` has done its imports: those take ten seconds, which each test would pay.

They run the same module, in a process of their own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from places import ROOT

from server.__main__ import set_up

__all__ = ["ForkedServer", "fork_server"]


class ForkedServer:
    """What tests use of a subprocess.Popen."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid: int = process.pid

    def poll(self) -> int | None:
        exitcode: int | None = self._process.exitcode
        return exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("server", timeout or 0.0)
        return int(self._process.exitcode)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork_server(options: Sequence[str], environment: dict[str, str], log: Path) -> ForkedServer:
    """`python -m server` with these options, whose output goes to `log`."""
    with _as_servers_find_it():
        forkserver.set_forkserver_preload(["server.app", "server.loading"])
        forkserver.ensure_running()
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_serve, args=(list(options), environment, log), daemon=True)
    process.start()
    return ForkedServer(process)


@contextmanager
def _as_servers_find_it() -> Iterator[None]:
    """The environment in which a server imports, and where it finds what only pytest has been told of."""
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before.get("PYTHONPATH")]))
    set_up(None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(options: list[str], environment: dict[str, str], log: Path) -> None:
    with log.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["server", *options]
    runpy.run_module("server", run_name="__main__")
