"""The bundled server against infinity and vLLM: same model, same machine, same load, one run.

python tests/benchmarks/bench_server.py [--seconds 10] [--peers infinity vllm] [--rounds 2]

The load comes from wrk (Debian package wrk): a Python client tops out below what is measured. The peers are installed
and started by scripts in the folder $PDFKB_PEERS (default: ../shared/peers beside the checkout). Each server runs alone
while it is measured. Prints texts a second of each, and the ratio of ours to the better peer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from kb.bundled import bundled_server

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(os.environ.get("PDFKB_PEERS", ROOT.parent / "shared" / "peers"))
START_SECONDS = 300
WORDS = """
    margin report quarter freight costs table policy committee safety helmet travel office annual growth revenue
    operating income assets market customer service product research model vector language network system process
    document section page chapter figure analysis result method energy water climate health patient treatment study
""".split()  # noqa: SIM905 (words read better as words)


@dataclass(frozen=True)
class Load:
    """What the clients send: words of a text, texts of a request, clients at once."""

    name: str
    words: tuple[int, int]
    texts: int
    clients: int


LOADS = (
    Load("150 tokens, 32 a request, 4 clients", (135, 145), 32, 4),
    Load("150 tokens, 1 a request, 32 clients", (135, 145), 1, 32),
    Load("5-15 words, 32 a request, 4 clients", (5, 15), 32, 4),
    Load("5-15 words, 1 a request, 32 clients", (5, 15), 1, 32),
)


def write_bodies(load: Load, model: str, file: Path) -> None:
    """Different texts in every request, so that no server can answer from a cache."""
    chosen = random.Random(load.name)
    with file.open("w") as out:
        for _ in range(2_000 if load.texts == 1 else 200):
            texts = [" ".join(chosen.choices(WORDS, k=chosen.randint(*load.words))) for _ in range(load.texts)]
            out.write(json.dumps({"model": model, "input": texts if load.texts > 1 else texts[0]}) + "\n")


def texts_per_second(url: str, model: str, load: Load, seconds: int, folder: Path) -> float:
    """What wrk gets from a server, errors not counted. Warms it up first."""
    bodies = folder / "bodies.jsonl"
    write_bodies(load, model, bodies)
    script = str(Path(__file__).with_name("load.lua"))
    said = ""
    for duration in (3, seconds):
        command = ["wrk", "-t1", f"-c{load.clients}", f"-d{duration}s", "--timeout", "60s", "-s", script, url]
        said = subprocess.run([*command, "--", str(bodies)], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise RuntimeError(f"{url}: {said}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found is not None, said
    return float(found[1]) * load.texts


@contextmanager
def peer(name: str, log: Path) -> Iterator[str]:
    """The URL of a peer, started by its script, ended with all its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as output:
        command = ["bash", str(PEERS / "serve.sh"), name, str(port)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended: {log.read_text()[-500:]}")
            try:
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def measured(url: str, model: str, seconds: int, folder: Path) -> dict[str, float]:
    return {load.name: texts_per_second(url, model, load, seconds, folder) for load in LOADS}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peers", nargs="*", default=["infinity", "vllm"])
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("the load generator is missing: install the Debian package wrk", file=sys.stderr)
        return 2
    results: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(options.rounds):
            with bundled_server(log=folder / "ours.log") as url:
                ours = measured(url.removesuffix("/v1"), "all-MiniLM-L6-v2", options.seconds, folder)
                results.setdefault("ours", []).append(ours)
            for peer_name in options.peers:
                with peer(peer_name, folder / f"{peer_name}.log") as url:
                    results.setdefault(peer_name, []).append(measured(url, "minilm", options.seconds, folder))
    show(results)
    return 0


def show(results: dict[str, list[dict[str, float]]]) -> None:
    names = list(results)
    print(f"{'texts a second (best of rounds)':<38}" + "".join(f"{name:>10}" for name in names) + f"{'ratio':>8}")
    for load in LOADS:
        best = {name: max(result[load.name] for result in results[name]) for name in names}
        others = [value for name, value in best.items() if name != "ours"]
        ratio = f"{best['ours'] / max(others):>7.2f}x" if others else ""
        print(f"{load.name:<38}" + "".join(f"{best[name]:>10.0f}" for name in names) + ratio)


if __name__ == "__main__":
    sys.exit(main())
