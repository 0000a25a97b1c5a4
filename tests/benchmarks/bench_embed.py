"""The endpoint client against bare loops, both sides in one run: prints vectors or texts a second, and their ratio.

python -m tests.benchmarks.bench_embed constant     # 128 x 1024-d a request from a server that answers at once
python -m tests.benchmarks.bench_embed bundled      # the bundled server, against a load generator
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import numpy as np

from kb.config import EmbedderSettings
from kb.embed import Embedder
from tests.embed.servers import Answer, Request, closed_port, serve

ROOT = Path(__file__).resolve().parents[2]
BATCH, DIMENSION = 128, 1024
VECTORS, TOPICS = 4096, 32
ROUNDS = 31  # short ones, so that a neighbour on the machine disturbs both sides alike


def constant_server(port: Any, dimension: int = DIMENSION) -> None:
    """In a process of its own, so that it takes no time of the client's interpreter; vectors of a few topics."""
    random = np.random.default_rng(1)
    drawn = random.standard_normal((VECTORS, TOPICS)) @ random.standard_normal((TOPICS, dimension))
    drawn += 0.3 * random.standard_normal(drawn.shape)
    unit = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype("<f4")
    coded = [base64.b64encode(vector.tobytes()) for vector in unit]

    def respond(request: Request) -> Answer:
        if request.method == "GET":
            return Answer(404, {})
        data = b",".join(
            b'{"object":"embedding","index":%d,"embedding":"%s"}' % (index, coded[crc32(text.encode()) % VECTORS])
            for index, text in enumerate(request.texts)
        )
        usage = {"prompt_tokens": len(request.texts), "total_tokens": len(request.texts)}
        told = json.dumps({"object": "list", "model": "m", "usage": usage}).encode()
        return Answer(body=told[:-1] + b',"data":[' + data + b"]}")

    with serve(respond) as url:
        port.send(url)
        port.recv()


def bare_loop(client: httpx.Client, url: str, texts: list[str]) -> int:
    """What a hand-written loop does: post, parse, decode."""
    body = {"model": "m", "input": texts, "encoding_format": "base64"}
    data = client.post(f"{url}/v1/embeddings", json=body).json()["data"]
    rows = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in data]
    return len(np.stack(rows))


def rates(sides: dict[str, Callable[[], int]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median items a second of each side, the sides taking turns."""
    seen: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            count = side()
            seen[name].append(count / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in seen.items()}


def report(title: str, found: dict[str, float], theirs: str, wanted: float) -> None:
    print(f"{title} (wanted: {wanted} of the first)")
    for name, rate in found.items():
        print(f"  {name:32} {rate:10,.0f} a second  {rate / found[theirs]:.2f}")


def against_constant() -> None:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=constant_server, args=(there,), daemon=True)
    process.start()
    url = here.recv()
    texts = [f"a passage of some length, number {number}" for number in range(BATCH)]
    many = [f"{part} {text}" for part in range(4) for text in texts]  # what an ingest hands over at once

    def opened(concurrency: int) -> Embedder:
        fields = {"batch_size": BATCH, "batch_tokens": 10**6, "max_tokens": 512, "timeout": 60}
        return Embedder(EmbedderSettings(base_url=f"{url}/v1", model="m", concurrency=concurrency, **fields))

    with httpx.Client() as client, opened(1) as single, opened(4) as default:
        for embedder in (single, default):
            embedder.embed_documents(many)
        found = rates(
            {
                "bare httpx and base64": lambda: sum(
                    bare_loop(client, url, many[start : start + BATCH]) for start in range(0, len(many), BATCH)
                ),
                "kb.embed, one request at a time": lambda: len(single.embed_documents(many).vectors),
                "kb.embed, as it comes": lambda: len(default.embed_documents(many).vectors),
            }
        )
    here.send("stop")
    process.join(10)
    title = f"{BATCH} x {DIMENSION}-d vectors a request, constant server"
    report(title, found, "bare httpx and base64", 0.75)


def against_bundled() -> None:
    port = closed_port()
    command = [sys.executable, "-m", "server", "--port", str(port)]
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=nothing, stderr=nothing)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        texts = [
            f"{number} " + "operating margin fell in the segment while cash flow rose " * 9 for number in range(256)
        ]
        model = "all-MiniLM-L6-v2"

        def load_generator() -> int:
            body = {"model": model, "encoding_format": "base64"}
            parts = [texts[start : start + 64] for start in range(0, len(texts), 64)]
            with httpx.Client(timeout=120) as client, ThreadPoolExecutor(4) as threads:
                answers = list(
                    threads.map(lambda part: client.post(f"{url}/v1/embeddings", json={**body, "input": part}), parts)
                )
            return sum(len(answer.json()["data"]) for answer in answers)

        settings = EmbedderSettings(base_url=f"{url}/v1", model=model, timeout=120)
        with Embedder(settings) as embedder:
            embedder.embed_documents(texts[:8])
            load_generator()
            found = rates(
                {
                    "load generator, 4 x 64 texts": load_generator,
                    "kb.embed": lambda: len(embedder.embed_documents(texts).vectors),
                },
                rounds=5,
            )
        report("texts of about 90 tokens, bundled server", found, "load generator, 4 x 64 texts", 0.9)
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("against", choices=["constant", "bundled"], nargs="+")
    for choice in parser.parse_args().against:
        against_constant() if choice == "constant" else against_bundled()
