"""Two servers behind a client that knows both, restarted by turns under load: nothing that was accepted is lost."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from server_running import RunningServer, start_server

RESTARTS = int(os.environ.get("PDFKB_RESTARTS", "4"))
CLIENTS = 6
TEXTS = [f"Sentence number {index} about freight costs and margins. " * 4 for index in range(12)]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Load:
    """Clients that ask one server or the other; only a refusal, before any work, sends them to the other one."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls
        self.ending = threading.Event()
        self.seen: Counter[str] = Counter()
        self.failed: list[str] = []

    def run(self, number: int) -> None:
        with httpx.Client(timeout=60) as http:
            while not self.ending.is_set():
                number += 1
                self.seen[self._ask(http, self.urls[number % 2])] += 1

    def _ask(self, http: httpx.Client, url: str) -> str:
        try:
            answer = http.post(f"{url}/v1/embeddings", json={"input": TEXTS})
        except httpx.ConnectError:
            self.ending.wait(0.02)
            return "not there"
        except httpx.TransportError as error:
            self.failed.append(repr(error))
            return "lost"
        if answer.status_code == 200 and len(answer.json()["data"]) == len(TEXTS):
            return "answered"
        if answer.status_code == 503 and answer.headers["retry-after"]:
            self.ending.wait(0.02)
            return "sent away"
        self.failed.append(answer.text)
        return "failed"


@pytest.mark.timeout(60 + 30 * RESTARTS)
def test_no_accepted_request_is_lost_over_restarts(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]

    def start(which: int, number: int) -> RunningServer:
        folder = tmp_path / f"{number}"
        folder.mkdir()
        return start_server(folder, "--port", str(ports[which]))

    servers = [start(0, 0), start(1, 1)]
    load = Load([server.url for server in servers])
    clients = [threading.Thread(target=load.run, args=(number,)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        for number in range(RESTARTS):
            time.sleep(0.5)
            which = number % 2
            assert servers[which].stop() == 0
            servers[which] = start(which, number + 2)
        time.sleep(0.5)
    finally:
        load.ending.set()
        for client in clients:
            client.join()
        statuses = [server.stop() for server in servers]
    print(dict(load.seen))
    assert load.failed == []
    assert load.seen["answered"] > 10 * RESTARTS
    assert load.seen["sent away"] + load.seen["not there"] > 0
    assert statuses == [0, 0]
