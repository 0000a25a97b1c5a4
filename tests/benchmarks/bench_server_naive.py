"""What the bundled server is worth against the service that anybody would write, and what it costs a lone request.

python tests/benchmarks/bench_server_naive.py [--seconds 10]

First 32 clients with a short text a request, against FastAPI over sentence-transformers' `encode`, the guide's service:
at least 3 times as many texts a second are asked. Then one client, one question at a time: what HTTP, the queue and the
threads add to tokenising and the forward pass; at most 2 ms are asked.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from bench_server import LOADS, WORDS, texts_per_second

from kb.bundled import bundled_server
from server.config import parse_arguments

LOAD = LOADS[3]
ASKED_RATIO, ASKED_MS = 3.0, 2.0
QUESTIONS = 200


def serve(port: int) -> None:
    """The naive service."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    from sentence_transformers import SentenceTransformer

    class EmbeddingRequest(BaseModel):
        input: str | list[str]
        model: str = "all-MiniLM-L6-v2"

    app = FastAPI()
    model = SentenceTransformer(parse_arguments([]).models[0].path, local_files_only=True)

    def embeddings(request: EmbeddingRequest) -> dict[str, object]:
        texts = [request.input] if isinstance(request.input, str) else request.input
        vectors = model.encode(texts).tolist()
        return {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]}

    embeddings.__annotations__["request"] = EmbeddingRequest  # a name of this function, which FastAPI cannot resolve
    app.post("/v1/embeddings")(embeddings)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical")


@contextmanager
def naive_service() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(port)])
    try:
        while process.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{port}/docs")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def added_milliseconds(url: str) -> tuple[float, float]:
    """Medians of a request, and of what it adds to its tokenising and its forward pass, as Server-Timing tells them."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
    chosen = random.Random(10)
    whole, added = [], []
    for _ in range(QUESTIONS):
        body = json.dumps({"input": " ".join(chosen.choices(WORDS, k=10))})
        started = time.perf_counter()
        connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        whole.append(1000 * (time.perf_counter() - started))
        said = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]))
        added.append(whole[-1] - float(said["tokenize"]) - float(said["forward"]))
    connection.close()
    return statistics.median(whole), statistics.median(added)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.serve:
        serve(options.serve)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with naive_service() as url:
            naive = texts_per_second(url, "all-MiniLM-L6-v2", LOAD, options.seconds, folder)
        with bundled_server(log=folder / "server.log") as url:
            root = url.removesuffix("/v1")
            ours = texts_per_second(root, "all-MiniLM-L6-v2", LOAD, options.seconds, folder)
            whole, added = added_milliseconds(root)
    print(f"{LOAD.name}: {ours:.0f} texts/s, naive service {naive:.0f}: {ours / naive:.2f}x, asked {ASKED_RATIO:g}x")
    print(f"a lone question: {whole:.2f} ms, of which not the model's {added:.2f} ms, asked {ASKED_MS:g} ms")
    return int(ours < ASKED_RATIO * naive or added > ASKED_MS)


if __name__ == "__main__":
    sys.exit(main())
