"""Questions of people over real PDFs, from public sets, as folders for bench_retrieval.py and `kb evaluate`.

    git clone https://github.com/patronus-ai/financebench
    python tests/benchmarks/question_sets.py financebench financebench FOLDER
    git clone https://github.com/mayubo2333/MMLongBench-Doc
    python tests/benchmarks/question_sets.py mmlongbench MMLongBench-Doc FOLDER

FinanceBench has 150 questions of analysts over annual and quarterly reports. MMLongBench-Doc has manuals, reports,
papers and brochures; taken are the questions whose answer stands in text or in a table. They were asked with the
document open, so that many do not say which one they mean. Questions on PDFs that are not there are left out. Nothing
of either set is part of this project; their licences, for research only, are their own.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Question = dict[str, Any]


def financebench(checkout: Path) -> tuple[Path, Iterator[Question]]:
    pdfs = checkout / "pdfs"
    lines = (checkout / "data" / "financebench_open_source.jsonl").read_text("utf-8").splitlines()

    def questions() -> Iterator[Question]:
        for asked in map(json.loads, lines):
            evidence = asked["evidence"]
            pages = [(f"{found['doc_name']}.pdf", found["evidence_page_num"] + 1) for found in evidence]
            yield question(asked["financebench_id"], asked["question_type"], asked["question"], pages)

    return pdfs, questions()


def mmlongbench(checkout: Path) -> tuple[Path, Iterator[Question]]:
    pdfs = checkout / "data" / "documents"
    samples = json.loads((checkout / "data" / "samples.json").read_text("utf-8"))

    def questions() -> Iterator[Question]:
        for number, asked in enumerate(samples):
            sources = ast.literal_eval(asked["evidence_sources"])
            if asked["answer"] != "Not answerable" and any(name.startswith(("Pure-text", "Table")) for name in sources):
                pages = [(asked["doc_id"], page) for page in ast.literal_eval(asked["evidence_pages"]) if page > 0]
                yield question(f"mmlongbench-{number}", asked["doc_type"], asked["question"], pages)

    return pdfs, questions()


def question(name: str, subset: str, query: str, pages: list[tuple[str, int]]) -> Question:
    relevant = [{"document": document, "page": page} for document, page in dict.fromkeys(pages)]
    return {"id": name, "subset": subset, "query": query, "relevant": relevant}


SETS: Mapping[str, Callable[[Path], tuple[Path, Iterator[Question]]]] = {
    "financebench": financebench,
    "mmlongbench": mmlongbench,
}


def main(name: str, checkout: Path, folder: Path) -> None:
    pdfs, questions = SETS[name](checkout)
    present = {path.name for path in pdfs.glob("*.pdf")}
    kept = [asked for asked in questions if asked["relevant"] and present.issuperset(documents_of(asked))]
    (folder / "pdfs").mkdir(parents=True, exist_ok=True)
    for document in sorted({document for asked in kept for document in documents_of(asked)}):
        link = folder / "pdfs" / document
        link.unlink(missing_ok=True)
        link.symlink_to((pdfs / document).resolve())
    (folder / "questions.jsonl").write_text("".join(f"{json.dumps(asked)}\n" for asked in kept), "utf-8")
    print(f"{len(kept)} questions on {len(list((folder / 'pdfs').iterdir()))} documents in {folder}")


def documents_of(asked: Question) -> set[str]:
    return {place["document"] for place in asked["relevant"]}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
