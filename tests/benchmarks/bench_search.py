"""How fast a search is, and how much the vector index finds, on collections of a given size.

    python tests/benchmarks/bench_search.py [ROWS …]      200,000 and 1,000,000 unless given

Passages are made up of words with the frequencies of language; vectors lie between real ones of the sample documents,
as those of a larger collection of the same kind would. Prints milliseconds (median), recall@10 against exact search,
and the ratio of each size to the first.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from making import write_config
from places import SAMPLES

from kb import KnowledgeBase
from kb.bundled import bundled_server
from kb.chunk import chunk_id_of
from kb.config import SearchSettings
from kb.search import search
from kb.store import IngestedDocument, Store, places
from kb.store.recall import measured_recall, nearest_of_a_sample
from kb.types import Chunk, Document, DocumentStatus, Page, Vector

PER_PAGE, PAGES = 4, 250
WORDS = 60
QUERIES = 60


def documents(rows: int, real: Vector, words: list[str], random: np.random.Generator) -> Iterator[IngestedDocument]:
    """Documents of 1,000 passages each."""
    frequencies = 1 / np.arange(1, len(words) + 1)
    frequencies /= frequencies.sum()
    for number in range(rows // (PER_PAGE * PAGES)):
        count = PER_PAGE * PAGES
        first, second = real[random.integers(0, len(real), count)], real[random.integers(0, len(real), count)]
        vectors = first + random.uniform(0.1, 0.9, (count, 1)) * second
        vectors += 0.02 * random.standard_normal(vectors.shape)
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        drawn = random.choice(len(words), (count, WORDS), p=frequencies)
        texts = [" ".join(words[index] for index in row) for row in drawn]
        doc_id = f"{number:064x}"
        chunks = tuple(
            Chunk(chunk_id_of(doc_id, "bench", index), doc_id, index, text, page, page, str(page), ("Section",))
            for index, text in enumerate(texts)
            for page in [index // PER_PAGE + 1]
        )
        by_page = [texts[start : start + PER_PAGE] for start in range(0, count, PER_PAGE)]
        pages = tuple(Page(page, str(page), "\n".join(held)) for page, held in enumerate(by_page, start=1))
        now = datetime.now(UTC)
        document = Document(
            path=f"/made/up/{number}.pdf", doc_id=doc_id, recipe="bench", size=1, mtime_ns=1,
            status=DocumentStatus.INDEXED, reason="", title=f"Report {number}", author="", created=now, modified=now,
            page_count=PAGES, chunk_count=count, pages_without_text=(), ingested_at=now,
        )  # fmt: skip
        yield IngestedDocument(document, pages, chunks, tuple(texts), vectors)


def fill(store: Store, rows: int, real: Vector, words: list[str], space: str) -> float:
    """Writes the rows and builds the indexes; gives the seconds of the latter."""
    random = np.random.default_rng(7)
    with store.writing():
        held: list[IngestedDocument] = []
        for document in documents(rows, real, words, random):
            held.append(document)
            if len(held) == 20:
                store.commit(held, dimension=real.shape[1], space=space)
                held = []
        if held:
            store.commit(held, dimension=real.shape[1], space=space)
        started = time.perf_counter()
        store.bring_up_to_date()
        return time.perf_counter() - started


def milliseconds(run: Callable[[int], object]) -> float:
    """The median of QUERIES runs, after a few to warm up."""
    for number in range(5):
        run(number)
    times = []
    for number in range(QUERIES):
        started = time.perf_counter()
        run(number)
        times.append((time.perf_counter() - started) * 1000)
    return median(times)


def main(sizes: list[int]) -> None:
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, bundled_server(log=Path(name) / "server.log") as url:
        folder = Path(name)
        with KnowledgeBase.open(write_config(folder, url)) as sampled:
            sampled.ingest(sorted(SAMPLES.glob("*.pdf"), key=lambda path: path.stat().st_size)[1])
            table = sampled.store.sample(["vector", "text"], 2_000)
            assert table is not None
            space = sampled.store.space or "{}"
        real = np.asarray(table["vector"].to_pylist(), np.float32)
        words = sorted({word for text in table["text"].to_pylist() for word in text.split()})
        random = np.random.default_rng(1)
        random.shuffle(words)
        vectors = real[random.integers(0, len(real), 200)] + 0.5 * real[random.integers(0, len(real), 200)]
        questions = [" ".join(words[index] for index in random.integers(20, 2_000, 6)) for _ in range(200)]
        for rows in sizes:
            config = write_config(folder / str(rows), url)
            with KnowledgeBase.open(config) as knowledge_base:
                store = knowledge_base.store
                seconds = fill(store, rows, real, words, space)

                def hybrid(number: int, store: Store = store) -> object:
                    embedded = vectors[number]
                    return search([store], questions[number], embed_query=lambda _: embedded, settings=SearchSettings())

                def nearest(number: int, store: Store = store) -> object:
                    return store.nearest(vectors[number], limit=10).result()

                def whole(number: int, knowledge_base: KnowledgeBase = knowledge_base) -> object:
                    return knowledge_base.search(questions[number])

                places.LEFT_ALONE = math.inf
                measured = {"hybrid while the table changes, ms": milliseconds(hybrid)}
                places.LEFT_ALONE = 0.0
                hybrid(0)
                time.sleep(5)  # places are read beside the searches
                measured |= {
                    "vector search, ms": milliseconds(nearest),
                    "hybrid without the embedding, ms": milliseconds(hybrid),
                    "a whole kb.search(), ms": milliseconds(whole),
                }
                chunks = store._tables.get("chunks")
                recall = measured_recall(chunks, nearest_of_a_sample(chunks, 50), store._effort_of_searches())
            print(f"{rows:,} chunks x {real.shape[1]}: recall@10 {recall:.3f}, indexes built in {seconds:.0f} s")
            for label, value in measured.items():
                ratio = value / first.setdefault(label, value)
                print(f"  {label:<36}{value:8.1f}   ratio to the first {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [200_000, 1_000_000])
