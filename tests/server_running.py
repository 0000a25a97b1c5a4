"""Real servers as processes of their own, on free loopback ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from server_forking import ForkedServer, fork_server

MODEL = "all-MiniLM-L6-v2"
START_SECONDS = 120


@dataclass
class RunningServer:
    """A server under test. `url` is without /v1."""

    process: subprocess.Popen[str] | ForkedServer
    url: str
    log: Path
    key: str = ""
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def embed(self, texts: object, **fields: object) -> httpx.Response:
        return self.client.post("/v1/embeddings", json={"input": texts, "model": MODEL, **fields})

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.client.close()
        return self.process.wait(60)


def start_server(
    folder: Path,
    *options: str,
    environment: dict[str, str] | None = None,
    wait: bool = True,
    from_nothing: bool = False,
) -> RunningServer:
    """Starts a server; with `wait` it is ready, else only its port is known.

    `from_nothing` it is a new interpreter, for tests of what happens before and while it imports.
    """
    ready, log = folder / "ready.json", folder / "server.log"
    options = ("--port", "0", "--ready-file", str(ready), *options)
    known = os.environ | {"PYTHONUNBUFFERED": "1"} | (environment or {})
    process = (_new_interpreter if from_nothing else fork_server)(options, known, log)
    deadline = time.monotonic() + START_SECONDS
    while not log.exists() or " at http" not in log.read_text() or (wait and not ready.exists()):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    url = log.read_text().split(" at ")[1].split("/v1")[0]
    if wait:
        assert json.loads(ready.read_text())["url"] == url
    key = (environment or {}).get("PDFKB_SERVER_API_KEY", "").split(",")[0]
    return RunningServer(process, url, log, key)


def refused(folder: Path, *options: str) -> str:
    """What a server says that ends by itself."""
    log = folder / "server.log"
    assert fork_server(options, dict(os.environ), log).wait(START_SECONDS) != 0
    said = log.read_text()
    assert "Traceback" not in said
    return said


def _new_interpreter(options: Sequence[str], environment: dict[str, str], log: Path) -> subprocess.Popen[str]:
    with log.open("wb") as output:
        command = [sys.executable, "-m", "server", *options]
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, env=environment)
