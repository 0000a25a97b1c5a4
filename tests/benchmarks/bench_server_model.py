"""The bundled server against its own model in process: what HTTP, the queue and the answers cost.

python tests/benchmarks/bench_server_model.py [--seconds 8] [--rounds 3]

The model runs by sentence-transformers' `encode`, in the precision that the server picked, at its best batch size; the
server is sent as many texts a request, 32 at least, by 4 clients. Both sides get the same texts and take turns, so that
a busy machine is busy for both; medians are compared. The issue asks for at least 0.95 of the model on long texts and
0.8 on short ones.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from bench_server import LOADS, WORDS, Load, texts_per_second
from sentence_transformers import SentenceTransformer

from kb.bundled import bundled_server
from server.config import parse_arguments
from server.loading import load_model

BULK_LOADS = {"150 tokens": LOADS[0], "5-15 words": LOADS[2]}
ASKED = {"150 tokens": 0.95, "5-15 words": 0.8}
BATCH_SIZES = (16, 32, 64, 128, 256, 512)


def texts_of(load: Load, number: int) -> list[str]:
    chosen = random.Random(load.name)
    return [" ".join(chosen.choices(WORDS, k=chosen.randint(*load.words))) for _ in range(number)]


def model_in_process() -> SentenceTransformer:
    """The packaged model as its users run it, in the precision that the server would pick."""
    config = parse_arguments([])
    dtype = load_model(config.models[0], config, None).dtype
    model = SentenceTransformer(config.models[0].path, local_files_only=True)
    model[0].to(dtype)
    print(f"model in process: {str(dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads")
    return model


def rate_in_process(model: SentenceTransformer, texts: list[str], batch_size: int, seconds: float) -> float:
    done, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        model.encode(texts, batch_size=batch_size, show_progress_bar=False)
        done += len(texts)
    return done / spent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    model = model_in_process()
    missed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, load in BULK_LOADS.items():
            texts = texts_of(load, 512)
            sizes = {size: rate_in_process(model, texts, size, 2) for size in BATCH_SIZES}
            best = max(sizes, key=lambda size: sizes[size])
            asked = replace(load, texts=max(best, load.texts))
            ours, theirs = [], []
            for _ in range(options.rounds):
                theirs.append(rate_in_process(model, texts, best, options.seconds))
                with bundled_server(log=folder / "server.log") as url:
                    root = url.removesuffix("/v1")
                    ours.append(texts_per_second(root, "all-MiniLM-L6-v2", asked, options.seconds, folder))
            served, alone = statistics.median(ours), statistics.median(theirs)
            print(
                f"{kind}: server {served:.0f} texts/s, {asked.texts} a request; model in process {alone:.0f}, "
                f"batches of {best}; ratio {served / alone:.2f}, asked {ASKED[kind]}"
            )
            missed |= served / alone < ASKED[kind]
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
