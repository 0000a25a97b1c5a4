"""From nothing to the first answer: which kinds of endpoint there are, and a configuration file that holds no key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kb.config_file import DEFAULT_FILE, find_file, write_sections
from kb.errors import ConfigurationError
from kb.health import Check
from kb.html import render
from kb.report import IngestReport
from kb.results import SearchResult
from kb.shown import Shown

__all__ = [
    "KEY_VARIABLE",
    "KINDS",
    "Kind",
    "SetupResult",
    "configuration_file",
    "overriding_variables",
    "write_configuration",
]

KEY_VARIABLE = "EMBEDDER_API_KEY"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of endpoint: where it usually is, how it is started, what to know."""

    label: str
    base_url: str
    model: str
    command: str
    note: str = ""


KINDS = {
    "bundled": Kind(
        "Bundled server",
        "http://127.0.0.1:8000/v1",
        "all-MiniLM-L6-v2",
        "python -m server",
        "Comes with this project, model included; for a trial, and for machines of your own.",
    ),
    "vllm": Kind(
        "vLLM",
        "http://your-gpu-cluster:8000/v1",
        "your-embedding-model",
        "vllm serve your-embedding-model --runner pooling --port 8000",
        "Refuses inputs over its maximum length; passages are made to fit.",
    ),
    "tei": Kind(
        "Text Embeddings Inference",
        "http://your-gpu-cluster:8080/v1",
        "your-embedding-model",
        "text-embeddings-router --model-id your-embedding-model --port 8080",
        "What guides call TGI for embeddings; text-generation-launcher itself has no embedding route.",
    ),
    "fastapi": Kind(
        "Your own FastAPI",
        "http://your-gpu-cluster:8000/v1",
        "your-embedding-model",
        "uvicorn your_service:app --port 8000",
        "One text a request is found out and done; set embedder.max_tokens, for it cannot be asked.",
    ),
}


@dataclass(frozen=True, slots=True)
class SetupResult(Shown):
    """How far a setup came: the checks, then the file written, the first PDF read, the first question answered."""

    checks: Sequence[Check]
    file: str = ""
    report: IngestReport | None = None
    answer: SearchResult | None = None

    @property
    def failed(self) -> Check | None:
        """The first check that failed."""
        return next((check for check in self.checks if check.status == "fail"), None)

    def raise_if_failed(self) -> None:
        """Raises ConfigurationError where the endpoint cannot be used."""
        check = self.failed
        if check is not None:
            what = f"the check of {check.name} failed: {check.came_back}"
            raise ConfigurationError(what, where=check.key, fix=check.fix or "See the checks above.")

    def to_dict(self) -> dict[str, Any]:
        """The whole as data."""
        return {
            "checks": [check.to_dict() for check in self.checks],
            "healthy": self.failed is None,
            "file": self.file,
            "report": self.report.to_dict() if self.report else None,
            "answer": self.answer.to_dict() if self.answer is not None else None,
        }

    def _repr_html_(self) -> str:
        return render("setup.html", result=self)

    def to_text(self) -> str:
        """The result where there is no HTML."""
        return "\n".join(f"{check.status:<5}{check.name}: {check.came_back}" for check in self.checks)


def configuration_file(config: str) -> Path:
    """The file to write: the one named, else the one in use, else config/pdf_knowledge.json here."""
    return Path(config).expanduser().absolute() if config else find_file(None) or Path.cwd() / DEFAULT_FILE


def write_configuration(file: Path, *, base_url: str, model: str, timeout: float, key_variable: str = "") -> None:
    """Writes where the endpoint is, all other settings of the file kept; a key only as the name of its variable.

    Raises ConfigurationError where the file there cannot be read or written.
    """
    embedder: dict[str, Any] = {"type": "custom", "base_url": base_url, "model": model, "timeout": timeout}
    if key_variable:
        embedder["api_key"] = f"${{{key_variable}}}"
    write_sections(file, {"embedder": embedder})


def overriding_variables() -> list[str]:
    """Variables of the environment that win over the embedder section of any file."""
    return sorted(name for name in os.environ if name.upper().startswith("PDF_KNOWLEDGE__EMBEDDER__"))
