"""What the bundled server is worth against the service that anybody would write, and what it costs a lone request.

python tests/benchmarks/bench_server_naive.py [--seconds 10]

First 32 clients with a short text a request, against FastAPI over sentence-transformers' `encode`, the guide's service:
at least 3 times as many texts a second are asked. Then one client at a time: the time of a request against that of the
same model in process (tokeniser and forward pass), by turns; at most 2 ms more are asked.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
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
from server.loading import load_model

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
    """Medians of a request and of the same text in process."""
    config = parse_arguments([])
    model = load_model(config.models[0], config, None)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
    chosen = random.Random(10)
    served, alone = [], []
    for _ in range(QUESTIONS):
        text = " ".join(chosen.choices(WORDS, k=10))
        started = time.perf_counter()
        body = json.dumps({"input": text})
        connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
        connection.getresponse().read()
        served.append(time.perf_counter() - started)
        started = time.perf_counter()
        model.forward(model.tokenizer.encode([text]))
        alone.append(time.perf_counter() - started)
    connection.close()
    return 1000 * statistics.median(served), 1000 * statistics.median(alone)


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
            served, alone = added_milliseconds(root)
    print(f"{LOAD.name}: {ours:.0f} texts/s, naive service {naive:.0f}: {ours / naive:.2f}x, asked {ASKED_RATIO:g}x")
    print(
        f"a lone question: {served:.2f} ms, in process {alone:.2f} ms: {served - alone:+.2f} ms, asked {ASKED_MS:g} ms"
    )
    return int(ours < ASKED_RATIO * naive or served - alone > ASKED_MS)


if __name__ == "__main__":
    sys.exit(main())
