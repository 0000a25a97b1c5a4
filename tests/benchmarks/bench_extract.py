"""How fast PDFs become pages: against plain pypdf on the same documents, and with two workers against one.

    python tests/benchmarks/bench_extract.py [--runs N] [PDF …]

Without arguments: the sample PDFs of the tests, and the ordinary documents of the corpus where it lies beside the
checkout. Both sides of a ratio are measured in one run, taking turns, and the best of the runs counts: other work on
the machine only ever adds. pypdf is asked for text alone; extraction brings outline, labels and metadata as well,
checks every page, and tidies the whole document.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pypdf import PdfReader

from kb.config import ExtractionSettings
from kb.extract import ExtractionPool, extract_document

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "tests" / "data" / "pdfs"
CORPUS = ROOT.parent / "shared" / "corpus" / "ordinary"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pdfs", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    paths = arguments.pdfs or default_documents()
    print(json.dumps({**against_pypdf(paths, arguments.runs), **two_workers(paths, arguments.runs)}, indent=2))


def default_documents() -> list[Path]:
    """The samples, and the corpus's other ordinary documents; each file once."""
    found = sorted(SAMPLES.glob("*.pdf"))
    sizes = {path.stat().st_size for path in found}
    return found + [path for path in sorted(CORPUS.glob("*.pdf")) if path.stat().st_size not in sizes]


def against_pypdf(paths: Sequence[Path], runs: int) -> dict[str, float]:
    """Pages per CPU second of plain pypdf and of extraction, on all documents together."""
    settings = ExtractionSettings()
    extract_document(paths[0], settings)  # regular expressions are compiled once in a process
    ours: dict[Path, float] = {}
    theirs: dict[Path, float] = {}
    pages = {path: extract_document(path, settings).page_count for path in paths}
    for _ in range(runs):
        for path in paths:
            theirs[path] = min(theirs.get(path, 1e9), cpu_seconds(lambda path=path: plain_pypdf(path)))
            ours[path] = min(ours.get(path, 1e9), cpu_seconds(lambda path=path: extract_document(path, settings)))
    total = sum(pages.values())
    for path in paths:
        ratio = theirs[path] / ours[path]
        print(
            f"{path.name:36} {pages[path]:4} pages  {theirs[path]:6.2f} s  {ours[path]:6.3f} s  {ratio:5.1f} x",
            file=sys.stderr,
        )
    return {
        "documents": len(paths),
        "pages": total,
        "pypdf_pages_per_cpu_second": round(total / sum(theirs.values()), 1),
        "kb_pages_per_cpu_second": round(total / sum(ours.values()), 1),
        "times_plain_pypdf": round(sum(theirs.values()) / sum(ours.values()), 2),
    }


def plain_pypdf(path: Path) -> None:
    """Every page's text, as a loop over a PdfReader gives it."""
    for page in PdfReader(path).pages:
        page.extract_text()


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def two_workers(paths: Sequence[Path], runs: int) -> dict[str, float]:
    """Pages per second of wall time with one and with two workers, each started and warm."""
    batch = sorted(paths, key=lambda path: -path.stat().st_size) * 3
    rates: dict[int, float] = {}
    for _ in range(runs):
        for workers in (1, 2):
            rates[workers] = max(rates.get(workers, 0.0), pages_per_second(batch, workers))
    return {
        "pages_per_second_one_worker": round(rates[1], 1),
        "pages_per_second_two_workers": round(rates[2], 1),
        "times_one_worker": round(rates[2] / rates[1], 2),
        "load_average": round(os.getloadavg()[0], 2),
        "cores": len(os.sched_getaffinity(0)),
    }


def pages_per_second(paths: Sequence[Path], workers: int) -> float:
    with ExtractionPool(ExtractionSettings(workers=workers)) as pool:
        for future in [pool.submit(paths[-1]) for _ in range(4 * workers)]:
            future.result()
        start = time.perf_counter()
        documents = [future.result() for future in [pool.submit(path) for path in paths]]
        return sum(document.page_count for document in documents) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
