"""Starting the bundled server as a process of its own, for the demo and the tests: kb knows it by command and URL."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kb.errors import EndpointConnectionError

__all__ = ["MODEL", "bundled_server"]

MODEL = "all-MiniLM-L6-v2"

START_SECONDS = 120.0
STOP_SECONDS = 20.0


@contextmanager
def bundled_server(*options: str, log: Path | None = None) -> Iterator[str]:
    """The base URL of a bundled server on a free loopback port, stopped on leaving the block.

    Raises EndpointConnectionError where it does not get ready; the message ends with what it said last.
    """
    with tempfile.TemporaryDirectory(prefix="pdfkb-server-") as folder:
        ready, said = Path(folder) / "ready.json", log or Path(folder) / "server.log"
        with said.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "server", "--port", "0", "--ready-file", str(ready), *options],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield _wait_until_ready(process, ready, said)
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Path, said: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ready.is_file():
            url = str(json.loads(ready.read_text("utf-8"))["url"]).rstrip("/")
            return url if url.endswith("/v1") else f"{url}/v1"
        time.sleep(0.05)
    last = _last_lines(said)
    reason = f"ended with status {process.returncode}" if process.poll() is not None else "is not ready in time"
    raise EndpointConnectionError(f"the bundled server {reason}: {last}", fix="Start it by hand: python -m server.")


def _last_lines(said: Path) -> Sequence[str]:
    return said.read_text("utf-8", "replace").strip().splitlines()[-3:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
