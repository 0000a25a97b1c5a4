"""What the notebooks call: a panel where someone is there, the same work at once where papermill runs them."""

from __future__ import annotations

from pathlib import Path

from kb.knowledge_base import KnowledgeBase
from kb.report import IngestReport
from kb.results import Answers, SearchResult
from kb.widgets import IngestPanel, SearchPanel, someone_is_there

__all__ = ["ask", "export", "finish", "ingest", "open_knowledge_base"]


def open_knowledge_base(config: str) -> KnowledgeBase:
    """The knowledge base of a configuration file; empty: the default one."""
    return KnowledgeBase.open(config or None)


def ingest(
    knowledge_base: KnowledgeBase, source: str, *, prune: bool, retry_failed: bool, interactive: bool
) -> IngestReport | IngestPanel:
    """Ingests files and folders, one a line: by a panel, or at once."""
    if interactive and someone_is_there():
        return IngestPanel(knowledge_base, source=source, prune=prune, retry_failed=retry_failed)
    return knowledge_base.ingest(*_lines(source), prune=prune, retry_failed=retry_failed)


def ask(
    knowledge_base: KnowledgeBase,
    query: str,
    *,
    limit: int,
    mode: str,
    documents: str,
    pages: str,
    after: str,
    before: str,
    title: str,
    judgements: str,
    interactive: bool,
) -> Answers | SearchPanel:
    """Asks questions, one a line: by a panel, or at once."""
    if interactive and someone_is_there():
        panel = SearchPanel(
            knowledge_base,
            query=(_lines(query) or [""])[0],
            limit=limit,
            mode=mode,
            documents=documents,
            pages=pages,
            after=after,
            before=before,
            title=title,
            judgements=knowledge_base.judgements(judgements or None),
        )
        panel.warm_up()
        return panel
    return Answers(
        knowledge_base.search(
            question,
            k=limit,
            mode=mode,
            documents=documents or (),
            pages=pages,
            after=after,
            before=before,
            title=title,
        )
        for question in _lines(query) or [""]
    )


def export(knowledge_base: KnowledgeBase, answers: Answers | SearchPanel, *, csv: str, bibtex: str) -> None:
    """Writes the hits of all questions to files, where any is named. The panel has links of its own."""
    if not isinstance(answers, Answers):
        return
    hits = SearchResult("", [hit for result in answers for hit in result])
    if csv:
        Path(csv).write_text(hits.to_csv(), "utf-8")
    if bibtex:
        Path(bibtex).write_text(hits.to_bibtex(knowledge_base.store.documents()), "utf-8")


def finish(report: IngestReport | IngestPanel, *, fail_on_incomplete: bool) -> None:
    """Ends a scheduled run with IncompleteError where the scheduler is to know of documents that failed."""
    if fail_on_incomplete and isinstance(report, IngestReport):
        report.raise_if_incomplete()


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
