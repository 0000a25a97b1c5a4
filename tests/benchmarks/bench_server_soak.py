"""Does the server keep its memory? A mixed load for a long time, its resident memory all along.

python tests/benchmarks/bench_server_soak.py [--minutes 16] [--texts 100000] [--pace 110]

Eight clients send what comes up in a day: questions, bulks, long texts, token ids, base64 and floats, wrong requests,
texts far too long, and requests that they give up on, at a pace of so many texts a second, which leaves the machine
something for others. It goes on until both the minutes and the texts are reached. The issue asks for memory that is
flat within 5 % after the first minute, and no error.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from bench_server import WORDS

from kb.bundled import bundled_server

CLIENTS = 8
SETTLED_SECONDS = 60


class Load:
    """The clients, and what they count."""

    def __init__(self, url: str, pace: float) -> None:
        self.url = url
        self.pace = pace
        self.started = time.monotonic()
        self.ending = threading.Event()
        self.statuses: Counter[int | str] = Counter()
        self.texts = 0
        self.errors: list[str] = []
        self._lock = threading.Lock()

    def run(self, seed: int) -> None:
        """One client, until the end."""
        chosen = random.Random(seed)
        with httpx.Client(timeout=120) as http:
            while not self.ending.is_set():
                if self.texts > self.pace * (time.monotonic() - self.started):
                    self.ending.wait(0.05)
                else:
                    self._ask(http, chosen)

    def _ask(self, http: httpx.Client, chosen: random.Random) -> None:
        kind = chosen.choices(["question", "bulk", "ids", "huge", "wrong", "impatient"], [60, 30, 5, 2, 2, 1])[0]
        expected, body = _request(kind, chosen)
        try:
            answer = http.post(f"{self.url}/embeddings", json=body, timeout=0.05 if kind == "impatient" else 120)
        except httpx.TimeoutException:
            self._note("gave up", 0, "" if kind == "impatient" else "no answer in 120 s")
            return
        except httpx.TransportError as error:
            self._note("lost", 0, repr(error))
            return
        given = answer.json()["data"] if answer.status_code == 200 else []
        wrong = answer.status_code != expected or (expected == 200 and len(given) != len(body["input"]))
        self._note(answer.status_code, len(given), f"{kind}: {answer.text[:200]}" if wrong else "")

    def _note(self, status: int | str, texts: int, error: str) -> None:
        with self._lock:
            self.statuses[status] += 1
            self.texts += texts
            if error:
                self.errors.append(error)


def _request(kind: str, chosen: random.Random) -> tuple[int, dict[str, object]]:
    """The status to come, and the body."""

    def text(low: int, high: int) -> str:
        return " ".join(chosen.choices(WORDS, k=chosen.randint(low, high)))

    encoding = chosen.choice(["float", "base64", None])
    if kind == "ids":
        return 200, {"input": [[chosen.randint(1000, 20_000) for _ in range(30)] for _ in range(8)]}
    if kind == "huge":
        return 200, {"input": ["x" * 100_000, text(5000, 6000)], "truncate": True}
    if kind == "wrong":
        return 400, chosen.choice([{"input": []}, {"input": [text(1, 5), 3]}, {"input": [text(400, 500)]}])
    if kind == "bulk":
        texts = [text(1, int(180 ** chosen.random())) for _ in range(chosen.randint(8, 64))]  # most are short
        return 200, {"input": texts, "encoding_format": encoding}
    return 200, {"input": [text(5, 15)], "encoding_format": encoding}


def resident_megabytes(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def server_process(url: str) -> int:
    """The process that listens at the URL, by what the server says of itself."""
    text = httpx.get(f"{url.removesuffix('/v1')}/info").json()
    return int(text["pid"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=16)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--pace", type=float, default=110)
    options = parser.parse_args()
    with TemporaryDirectory() as folder, bundled_server(log=Path(folder) / "server.log") as url:
        load = Load(url, options.pace)
        pid = server_process(url)
        clients = [threading.Thread(target=load.run, args=(seed,)) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        started = time.monotonic()
        sizes: list[tuple[float, float]] = []
        while time.monotonic() - started < 60 * options.minutes or load.texts < options.texts:
            time.sleep(5)
            sizes.append((time.monotonic() - started, resident_megabytes(pid)))
            if len(sizes) % 12 == 0:
                print(f"{sizes[-1][0]:5.0f} s  {sizes[-1][1]:6.0f} MB  {load.texts} texts", flush=True)
        load.ending.set()
        for client in clients:
            client.join()
    by_minute = medians(sizes)
    spread = max(by_minute) / by_minute[0] - 1
    print(f"{load.texts} texts in {sizes[-1][0]:.0f} s; statuses {dict(load.statuses)}; {len(load.errors)} errors")
    print(
        f"resident memory, medians of the minutes after the first: {', '.join(f'{size:.0f}' for size in by_minute)} MB"
    )
    highest = max(size for _, size in sizes)
    print(f"highest against first {spread:+.1%}, asked at most +5 %; highest of all {highest:.0f} MB")
    print("\n".join(load.errors[:5]))
    return int(bool(load.errors) or spread > 0.05)


def medians(sizes: list[tuple[float, float]]) -> list[float]:
    """Of each minute after the first: a single look may fall into a batch, which takes what it gives back at once."""
    minutes: dict[int, list[float]] = {}
    for seconds, size in sizes:
        minutes.setdefault(int(seconds // SETTLED_SECONDS), []).append(size)
    return [statistics.median(minutes[minute]) for minute in sorted(minutes) if minute or len(minutes) == 1]


if __name__ == "__main__":
    sys.exit(main())
