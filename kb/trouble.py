"""The guide's four symptoms, and what is wrong with a collection or slow in its last ingest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kb.errors import (
    EndpointAuthenticationError,
    EndpointConnectionError,
    EndpointError,
    EndpointModelError,
    EndpointTimeoutError,
)
from kb.explain import Explanation, Finding, slowest_stage
from kb.health import Check
from kb.html import render
from kb.shown import Shown
from kb.store import Store

__all__ = ["SYMPTOMS", "Troubleshooting", "collection_findings"]


@dataclass(frozen=True, slots=True)
class Symptom:
    """A message that people see, what it means, what to verify, and the doctor's checks of that."""

    message: str
    verify: str
    checks: tuple[str, ...]


def _symptom(error: type[EndpointError], verify: str, *checks: str) -> Symptom:
    return Symptom(f"[pdf] {error.action}: {error.family}", verify, checks)


SYMPTOMS = (
    _symptom(
        EndpointConnectionError,
        "embedder.base_url and the network: does the server run, and does the URL end in /v1?",
        *("path", "proxy", "name", "connection", "TLS", "server", "endpoint"),
    ),
    _symptom(
        EndpointAuthenticationError,
        "embedder.api_key and embedder.headers: an Authorization header there wins over the key.",
        "authentication",
    ),
    _symptom(
        EndpointModelError,
        "the model's name, and that the endpoint serves it; other vectors than those stored: kb migrate.",
        *("model", "dimension", "embeddings", "order", "replicas", "fleet", "length", "tokenizer"),
    ),
    _symptom(EndpointTimeoutError, "embedder.timeout, and the server's speed.", "speed", "batch"),
)


@dataclass(frozen=True, slots=True)
class Troubleshooting(Shown):
    """Everything looked at: the endpoint, the collection, and a query where one was named."""

    checks: Sequence[Check]
    collection: Sequence[Finding]
    explanation: Explanation | None = None

    def to_dict(self) -> dict[str, Any]:
        """The whole as data."""
        return {
            "checks": [check.to_dict() for check in self.checks],
            "healthy": not any(check.status == "fail" for check in self.checks),
            "collection": [asdict(finding) for finding in self.collection],
            "explanation": self.explanation.to_dict() if self.explanation else None,
        }

    def _repr_html_(self) -> str:
        return render("troubleshooting.html", trouble=self, symptoms=SYMPTOMS)

    def to_text(self) -> str:
        """The result where there is no HTML."""
        lines = [f"{check.status:<5}{check.name}: {check.came_back}" for check in self.checks]
        lines += [f"{finding.status:<5}{finding.what}" for finding in self.collection]
        return "\n".join(lines)


def collection_findings(store: Store) -> list[Finding]:
    """What is in the way of good answers: nothing there, documents not whole, runs that stopped, slow stages."""
    if not store.exists:
        return [Finding("fail", f"There is nothing at {store.uri} yet.", "Run kb ingest FOLDER, or ingest.ipynb.")]
    numbers = store.statistics()
    what = f"{numbers.documents} documents, {numbers.pages} pages, {numbers.chunks} passages."
    fix = "" if numbers.chunks else "No document gave text: see kb status."
    findings = [Finding("ok" if numbers.chunks else "fail", what, fix)]
    lost = [document for document in store.documents().values() if not document.status.has_text]
    if lost:
        fix = "ingest.ipynb has a button that reads them again; kb status names the reason of each."
        what = f"{len(lost)} document{'s' if len(lost) > 1 else ''} gave no text and cannot be found."
        findings.append(Finding("warn", what, fix))
    partly = [document for document in store.documents().values() if document.pages_without_text]
    if partly:
        pages = sum(len(document.pages_without_text) for document in partly)
        fix = "Set extraction.ocr to auto, and ingest with --retry-failed."
        findings.append(Finding("warn", f"{pages} pages of {len(partly)} documents have no text.", fix))
    for run in store.runs(1):
        report = json.loads(run.report)
        if report["stopped"]:
            findings.append(Finding("warn", f"The last ingest stopped: {report['stopped']}"))
        findings.append(slowest_stage(report["stage_seconds"]))
    return findings
