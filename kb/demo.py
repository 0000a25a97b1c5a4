"""`make demo`: the whole product once, from PDFs to cited answers, through the notebooks that a scheduler would run."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import papermill
from traitlets.config import Config

from kb.bundled import MODEL, bundled_server
from kb.errors import KnowledgeBaseError

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".demo"
PAPERS = ROOT / "tests" / "data" / "pdfs"
QUESTIONS = (
    "How do I make a Debian package of a Python program?",
    "How do I draw a table across several pages with ReportLab?",
    "Which parameter sets the numeration of footnotes in DocBook?",
)
PASSAGE = 320


def main() -> int:
    """Runs the demo; 0 when every question has its hits."""
    FOLDER.mkdir(exist_ok=True)
    print("Starting the bundled embedding server with the packaged model …", flush=True)
    try:
        with bundled_server(log=FOLDER / "server.log") as url:
            print(f"  {url}", flush=True)
            config = _write_config(url)
            print(f"Ingesting {PAPERS.relative_to(ROOT)} through papermill notebooks/ingest.ipynb …", flush=True)
            report = _run("ingest", config=str(config), source=str(PAPERS))
            _print_report(report)
            print("Asking through papermill notebooks/search.ipynb …", flush=True)
            answers = _run("search", config=str(config), query="\n".join(QUESTIONS), limit=3)
    except (KnowledgeBaseError, papermill.PapermillExecutionError) as error:
        print(error, file=sys.stderr)
        return 2
    _print_answers(answers)
    print(f"Executed notebooks: {FOLDER / 'ingest.ipynb'}\n                    {FOLDER / 'search.ipynb'}")
    return 0 if all(answer["hits"] for answer in answers["answers"]) else 1


def _write_config(url: str) -> Path:
    file = FOLDER / "pdf_knowledge.json"
    settings = {"embedder": {"type": "custom", "base_url": url, "model": MODEL}, "storage": {"uri": "data"}}
    file.write_text(json.dumps({"pdf_knowledge": settings}, indent=2) + "\n", "utf-8")
    return file


def _run(name: str, **parameters: Any) -> dict[str, Any]:
    """Executes a notebook and gives back the data of its first result."""
    notebook = papermill.execute_notebook(
        str(ROOT / "notebooks" / f"{name}.ipynb"),
        str(FOLDER / f"{name}.ipynb"),
        parameters,
        kernel_name="python3",
        progress_bar=False,
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),  # else each kernel warns that it has none
    )
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    data = (output["data"]["application/json"] for output in outputs if "application/json" in output.get("data", {}))
    result: dict[str, Any] = next(data)
    return result


def _print_report(report: dict[str, Any]) -> None:
    counts = ", ".join(f"{report[outcome]} {outcome}" for outcome in ("added", "unchanged", "changed", "failed"))
    print(f"  {counts}; {report['pages']} pages, {report['chunks']} chunks in {report['seconds']:.1f} s", flush=True)


def _print_answers(answers: dict[str, Any]) -> None:
    for answer in answers["answers"]:
        print(f"\n? {answer['query']}")
        for hit in answer["hits"]:
            section = f"  [{hit['section']}]" if hit["section"] else ""
            print(f"  {hit['rank']}. {hit['citation']}{section}")
            print(textwrap.indent(textwrap.fill(_passage(hit), 100), "     "))
    print()


def _passage(hit: dict[str, Any]) -> str:
    """The passage from the first sentence that matched."""
    start = hit["marks"][0][0] if hit["marks"] else 0
    whole = ("… " if start else "") + " ".join(hit["text"][start:].split())
    return whole if len(whole) <= PASSAGE else whole[:PASSAGE].rsplit(" ", 1)[0] + " …"


if __name__ == "__main__":
    sys.exit(main())
