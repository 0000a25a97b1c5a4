"""What each step of the search is worth, on the questions with known pages that lie beside the checkout.

    python tests/benchmarks/bench_retrieval.py [FOLDER with pdfs/ and questions.jsonl]

Prints nDCG@10 and recall@5 of pages for each step left out, and the gain of the search as it is, question by question,
with its 95 % interval.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from making import write_config
from places import SHARED

from kb import KnowledgeBase
from kb.bundled import bundled_server
from kb.evaluate import ModeResult, gain
from kb.search import candidates
from kb.store import schemas

STEPS: Mapping[str, Mapping[str, Any]] = {
    "vectors alone": {"mode": "vector"},
    "full text alone": {"mode": "text"},
    "reciprocal ranks": {"fusion": "rrf"},
    "without the list of pages": {"page_weight": 0.0},
    "without pairs of words": {"pair_weight": 0.0},
    "without figures": {"figure_weight": 0.0},
    "without the document's share": {"document_weight": 0.0},
    "several hits from a page": {"per_page": 0},
    "diversity 0.3": {"diversity": 0.3},
}


def evaluated(config: Path, questions: Path, **search: Any) -> ModeResult:
    with KnowledgeBase.open(config, search=search) as knowledge_base:
        return knowledge_base.evaluate(questions, modes=[search.get("mode", "hybrid")]).modes[0]


def main(folder: Path) -> None:
    questions = folder / "questions.jsonl"
    with tempfile.TemporaryDirectory() as name, bundled_server(log=Path(name) / "server.log") as url:
        config, plain = write_config(Path(name) / "a", url), write_config(Path(name) / "b", url)
        with KnowledgeBase.open(config) as knowledge_base:
            knowledge_base.ingest(folder / "pdfs")
        with KnowledgeBase.open(plain, chunking={"context": False}) as knowledge_base:
            knowledge_base.ingest(folder / "pdfs")
        results = {"as it is": evaluated(config, questions)}
        results |= {step: evaluated(config, questions, **changed) for step, changed in STEPS.items()}
        with patch.object(candidates, "content_words", lambda question: question):
            results["with the question words"] = evaluated(config, questions)
        results["without title and section"] = evaluated(plain, questions)
        bare = patch.object(schemas, "names_of", lambda documents: "")
        with bare, KnowledgeBase.open(config, storage={"collection": "nameless"}) as nameless:
            nameless.ingest(folder / "pdfs")
            results["pages without their file's name"] = nameless.evaluate(questions, modes=["hybrid"]).modes[0]
        with patch.object(schemas, "GOES_ON", 0), KnowledgeBase.open(config, storage={"collection": "cut"}) as cut:
            cut.ingest(folder / "pdfs")
            results["pages end where they end"] = cut.evaluate(questions, modes=["hybrid"]).modes[0]
    best = [one.page["nDCG@10"] for one in results["as it is"].answered]
    for step, result in results.items():
        ours = gain([one.page["nDCG@10"] for one in result.answered], best)
        print(
            f"{step:<31} nDCG@10 {result.page['nDCG@10'].mean:.3f}  recall@5 {result.page['recall@5'].mean:.3f}  "
            f"as it is: {ours.mean:+.3f} ({ours.low:+.3f} to {ours.high:+.3f})  p50 {result.milliseconds['p50']} ms"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED / "retrieval")
