"""What the notebooks call: a panel where someone is there, the same work at once where papermill runs them."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from getpass import getpass
from pathlib import Path
from urllib.parse import urlsplit

from kb.backup import thin_out
from kb.bundled import bundled_server
from kb.errors import ConfigurationError
from kb.headline import make_room
from kb.knowledge_base import KnowledgeBase
from kb.maintenance import Maintenance
from kb.report import IngestReport
from kb.results import Answers, SearchResult
from kb.setup import KINDS, Kind, SetupResult, configuration_file, write_configuration
from kb.trouble import Troubleshooting
from kb.widgets import (
    IngestPanel,
    MaintenancePanel,
    SearchPanel,
    SetupPanel,
    TroubleshootingPanel,
    can_be_asked,
    someone_is_there,
)

__all__ = [
    "ask",
    "export",
    "finish",
    "finish_setup",
    "ingest",
    "maintain",
    "open_knowledge_base",
    "set_up",
    "troubleshoot",
]


def open_knowledge_base(config: str) -> KnowledgeBase:
    """The knowledge base of a configuration file; empty: the default one.

    Each notebook is a process of its own: a person is asked for a key that its environment lacks, which no file keeps.
    """
    make_room()
    try:
        return KnowledgeBase.open(config or None)
    except ConfigurationError as error:
        missing = re.search(r"environment variable (\w+) is not set", error.what)
        if missing is None or not can_be_asked():
            raise
        os.environ[missing[1]] = getpass(f"{missing[1]}, kept only while this kernel runs: ")
    return open_knowledge_base(config)


def set_up(
    config: str,
    *,
    kind: str,
    base_url: str,
    model: str,
    timeout: float,
    key_variable: str,
    start: bool,
    first_pdf: str,
    question: str,
    interactive: bool,
) -> SetupResult | SetupPanel:
    """Tests an endpoint, writes the configuration, reads a first PDF and asks a first question: by a panel, or at once.

    At once a key comes from the environment variable named; nothing is written where a check fails.
    """
    make_room()
    usual = _kind(kind)
    base_url, model = base_url or usual.base_url, model or usual.model
    if interactive and someone_is_there():
        return SetupPanel(
            config=config,
            kind=kind,
            base_url=base_url,
            model=model,
            timeout=timeout,
            first_pdf=first_pdf,
            question=question,
        )
    with ExitStack() as stack:
        if start:
            base_url = stack.enter_context(bundled_server("--port", str(urlsplit(base_url).port or 8000)))
        file = configuration_file(config)
        uses_key = key_variable if os.environ.get(key_variable) else ""
        embedder = {"base_url": base_url, "model": model, "timeout": timeout}
        key = {"api_key": os.environ[key_variable]} if uses_key else {}
        checks = list(KnowledgeBase.open(file if file.is_file() else None, embedder={**embedder, **key}).diagnose())
        if any(check.status == "fail" for check in checks):
            return SetupResult(checks)
        write_configuration(file, base_url=base_url, model=model, timeout=timeout, key_variable=uses_key)
        with KnowledgeBase.open(file) as knowledge_base:
            report = knowledge_base.ingest(*_lines(first_pdf)) if _lines(first_pdf) else None
            asked = " ".join(_lines(question))
            answer = knowledge_base.search(asked, k=3) if asked and knowledge_base.store.exists else None
        return SetupResult(checks, str(file), report, answer)


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise ConfigurationError(f"unknown kind of endpoint: {name!r}", where="kind", fix=f"One of {', '.join(KINDS)}.")
    return KINDS[name]


def ingest(
    knowledge_base: KnowledgeBase, source: str, *, prune: bool, retry_failed: bool, interactive: bool
) -> IngestReport | IngestPanel:
    """Ingests files and folders, one a line: by a panel (the one whose ingest is under way, if any), or at once."""
    if interactive and someone_is_there():
        running = IngestPanel.under_way(knowledge_base)
        return running or IngestPanel(knowledge_base, source=source, prune=prune, retry_failed=retry_failed)
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
            documents=_lines(documents),
            pages=str(pages),
            after=str(after),
            before=str(before),
            title=str(title),
        )
        for question in _lines(query) or [""]
    )


def troubleshoot(
    config: str, query: str, *, document: str, page: int, interactive: bool
) -> Troubleshooting | TroubleshootingPanel:
    """Looks at endpoint, collection and, where one is named, a question: by a panel, or at once."""
    if interactive and someone_is_there():
        panel = TroubleshootingPanel(lambda: open_knowledge_base(config), query=query, document=document, page=page)
        panel.begin()
        return panel
    knowledge_base = open_knowledge_base(config)
    checks = list(knowledge_base.diagnose())
    healthy = all(check.status != "fail" for check in checks)
    asked = healthy and str(query).strip()
    explanation = knowledge_base.explain(asked, document=str(document), page=page) if asked else None
    return Troubleshooting(checks, knowledge_base.findings(), explanation)


def maintain(
    config: str,
    *,
    backup_to: str,
    keep_backups: int,
    restore_from: str,
    migrate: bool,
    interactive: bool,
) -> Maintenance | MaintenancePanel:
    """Shows the state of everything and, where asked to, restores, migrates and backs up: by a panel, or at once."""
    knowledge_base = open_knowledge_base(config)
    if interactive and someone_is_there():
        panel = MaintenancePanel(knowledge_base, backup_to=backup_to)
        panel.begin()
        return panel
    done: list[str] = []
    if restore_from:
        restored = knowledge_base.restore(restore_from)
        done.append(f"Restored {restored.documents} documents from {restored.file}.")
    if migrate:
        done.append(f"Embedded {knowledge_base.migrate()} passages anew.")
    backup = None
    if backup_to:
        Path(backup_to).mkdir(parents=True, exist_ok=True)
        backup = knowledge_base.backup(backup_to)
        done.append(f"Backed up {backup.documents} documents into {backup.file}.")
        old = thin_out(Path(backup_to), backup.collection, keep=keep_backups) if keep_backups else []
        done += [f"Deleted the old backup {file}." for file in old]
    return knowledge_base.maintenance(done=done, backup=backup)


def export(knowledge_base: KnowledgeBase, answers: Answers | SearchPanel, *, csv: str, bibtex: str) -> None:
    """Writes the hits of all questions to files, where any is named. The panel has links of its own."""
    if not isinstance(answers, Answers):
        return
    hits = SearchResult("", [hit for result in answers for hit in result])
    if csv:
        Path(csv).write_text(hits.to_csv(), "utf-8")
    if bibtex:
        Path(bibtex).write_text(hits.to_bibtex(knowledge_base.store.documents()), "utf-8")


def finish_setup(result: SetupResult | SetupPanel) -> None:
    """Ends a scheduled run with ConfigurationError where the endpoint cannot be used."""
    if isinstance(result, SetupResult):
        result.raise_if_failed()


def finish(report: IngestReport | IngestPanel, *, fail_on_incomplete: bool) -> None:
    """Ends a scheduled run with IncompleteError where the scheduler is to know of documents that failed."""
    if fail_on_incomplete and isinstance(report, IngestReport):
        report.raise_if_incomplete()


def _lines(text: object) -> list[str]:
    """Lines with something in them; papermill makes a number of a parameter "2022"."""
    return [line.strip() for line in str(text).splitlines() if line.strip()]
