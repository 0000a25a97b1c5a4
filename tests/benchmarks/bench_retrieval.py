"""What each step of the search is worth, on the questions with known pages that lie beside the checkout.

    python tests/benchmarks/bench_retrieval.py [--searches] [FOLDER with pdfs/ and questions.jsonl]

Prints nDCG@10 and recall@5 of pages for each step left out, and the gain of the search as it is, question by question,
with its 95 % interval. With --searches only what needs no ingest of its own. question_sets.py makes other folders, of
public questions that people asked: no default should be good on one set alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from making import write_config
from places import SHARED

from kb import KnowledgeBase
from kb.bundled import bundled_server
from kb.evaluate import ModeResult, gain
from kb.search import candidates, fusion
from kb.store import schemas

STEPS: Mapping[str, Mapping[str, Any]] = {
    "vectors alone": {"mode": "vector"},
    "full text alone": {"mode": "text"},
    "reciprocal ranks": {"fusion": "rrf"},
    "without the list of pages": {"page_weight": 0.0},
    "without pairs of words": {"pair_weight": 0.0},
    "without figures": {"figure_weight": 0.0},
    "without names of files": {"name_weight": 0.0},
    "without the document's share": {"document_weight": 0.0},
    "several hits from a page": {"per_page": 0},
    "diversity 0.3": {"diversity": 0.3},
}


def evaluated(config: Path, questions: Path, **search: Any) -> ModeResult:
    with KnowledgeBase.open(config, search=search) as knowledge_base:
        return knowledge_base.evaluate(questions, modes=[search.get("mode", "hybrid")]).modes[0]


def main(folder: Path, *, only_searches: bool) -> None:
    questions = folder / "questions.jsonl"
    with tempfile.TemporaryDirectory() as name, bundled_server(log=Path(name) / "server.log") as url:
        config = write_config(Path(name) / "a", url)
        with KnowledgeBase.open(config) as knowledge_base:
            knowledge_base.ingest(folder / "pdfs")
        results = {"as it is": evaluated(config, questions)}
        results |= {step: evaluated(config, questions, **changed) for step, changed in STEPS.items()}
        with patch.object(candidates, "content_words", lambda question: question):
            results["with the question words"] = evaluated(config, questions)
        with patch.object(fusion, "OF_WORDS", ()):
            results["full text always counts in full"] = evaluated(config, questions)
        if not only_searches:
            results |= ingested_otherwise(folder, write_config(Path(name) / "b", url), questions)
    best = [one.page["nDCG@10"] for one in results["as it is"].answered]
    for step, result in results.items():
        ours = gain([one.page["nDCG@10"] for one in result.answered], best)
        print(
            f"{step:<31} nDCG@10 {result.page['nDCG@10'].mean:.4f}  recall@5 {result.page['recall@5'].mean:.4f}  "
            f"document {result.document['nDCG@10'].mean:.4f}  "
            f"as it is: {ours.mean:+.4f} ({ours.low:+.4f} to {ours.high:+.4f})  p50 {result.milliseconds['p50']} ms"
        )


def ingested_otherwise(folder: Path, config: Path, questions: Path) -> Iterator[tuple[str, ModeResult]]:
    """What is worth something when documents are read, each in a collection of its own."""
    steps = {
        "without title and section": ({"chunking": {"context": False}}, nullcontext()),
        "pages without their file's name": ({}, patch.object(schemas, "names_of", lambda documents: "")),
        "pages end where they end": ({}, patch.object(schemas, "GOES_ON", 0)),
    }
    for step, (changed, changes) in steps.items():
        collection = step.replace(" ", "-").replace("'", "")
        with changes, KnowledgeBase.open(config, storage={"collection": collection}, **changed) as knowledge_base:
            knowledge_base.ingest(folder / "pdfs")
            yield step, knowledge_base.evaluate(questions, modes=["hybrid"]).modes[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=SHARED / "retrieval")
    parser.add_argument("--searches", action="store_true")
    arguments = parser.parse_args()
    main(arguments.folder, only_searches=arguments.searches)
