"""Every error the product raises on purpose. Each says what happened, where, and what to do next, in one line.

    KnowledgeBaseError
    ├── ConfigurationError        (ValueError)        a key or value of the configuration
    ├── SourceError               (FileNotFoundError) the PDFs that were asked for are not there
    ├── StoreError                (OSError)           the LanceDB store
    ├── QueryError                (ValueError)        a query, filter or questions file
    ├── PageError                 (OSError)           a page that cannot be shown
    ├── RunError                  (RuntimeError)      a notebook that cannot be run, or runs already
    ├── IncompleteError                               some documents failed, and the scheduler asked to be told
    └── EndpointError                                 the four families of the guide
        ├── EndpointConnectionError      (ConnectionError)  "Connection error"
        ├── EndpointAuthenticationError  (PermissionError)  "Authentication error"
        ├── EndpointModelError           (ValueError)       "Model error"
        └── EndpointTimeoutError         (TimeoutError)     "Timeout error"

A bad PDF is not an error: it is a `DocumentStatus` in the report, and stops nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "ConfigurationError",
    "EndpointAuthenticationError",
    "EndpointConnectionError",
    "EndpointError",
    "EndpointModelError",
    "EndpointTimeoutError",
    "IncompleteError",
    "KnowledgeBaseError",
    "PageError",
    "QueryError",
    "RunError",
    "SourceError",
    "StoreError",
]


class KnowledgeBaseError(Exception):
    """Base of all. `what` happened, `where` (file, page, URL, key), and the `fix`."""

    action: ClassVar[str] = "Failed to setup PDF knowledge base"
    family: ClassVar[str] = "Error"

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        fix = f" {self.fix}" if self.fix else ""
        line = f"[pdf] {self.action}: {self.family}: {place}{self.what.rstrip('.')}.{fix}"
        return " ".join(line.split())

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.what, self.where, self.fix)

    def to_dict(self) -> dict[str, str]:
        """The error as `--json` prints it."""
        parts = {"family": self.family, "what": self.what, "where": self.where, "fix": self.fix}
        return {"error": str(self), **parts}

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of eighty lines of traceback."""
        lines = [f"[pdf] {self.action}: {self.family}", f"  what:  {self.what}"]
        lines += [f"  where: {self.where}"] if self.where else []
        lines += [f"  fix:   {self.fix}"] if self.fix else []
        return lines


def _rebuild(cls: type[KnowledgeBaseError], what: str, where: str, fix: str) -> KnowledgeBaseError:
    return cls(what, where=where, fix=fix)


class ConfigurationError(KnowledgeBaseError, ValueError):
    """A key or value of the configuration is wrong."""

    family = "Configuration error"


class SourceError(KnowledgeBaseError, FileNotFoundError):
    """A path that was given to ingest or remove does not lead to PDFs."""

    action = "Failed to ingest"
    family = "Path error"


class StoreError(KnowledgeBaseError, OSError):
    """The LanceDB store cannot be opened, read or written, or holds something else than expected."""

    action = "Failed to use the store"
    family = "Store error"


class QueryError(KnowledgeBaseError, ValueError):
    """A query, filter or questions file that cannot be answered as it stands."""

    action = "Failed to search"
    family = "Query error"


class PageError(KnowledgeBaseError, OSError):
    """A page that cannot be shown as a picture: its file is gone, locked, or has fewer pages by now."""

    action = "Failed to show the page"
    family = "Page error"


class RunError(KnowledgeBaseError, RuntimeError):
    """A notebook cannot be run as it was asked for, or is running already."""

    action = "Failed to run the notebook"
    family = "Run error"


class IncompleteError(KnowledgeBaseError):
    """An ingest is done, but some of its documents cannot be found whole."""

    action = "Failed to ingest everything"
    family = "Documents incomplete"


class EndpointError(KnowledgeBaseError):
    """The embedding endpoint; one of the four families below."""

    family = "Endpoint error"


class EndpointConnectionError(EndpointError, ConnectionError):
    """Nothing answers at base_url: refused, unknown host, reset, TLS, proxy, or 5xx until the retries were used up."""

    family = "Connection error"


class EndpointAuthenticationError(EndpointError, PermissionError):
    """The endpoint answers 401 or 403."""

    family = "Authentication error"


class EndpointModelError(EndpointError, ValueError):
    """The model is unknown there, or what comes back is not what an embedding of it should be."""

    family = "Model error"


class EndpointTimeoutError(EndpointError, TimeoutError):
    """No answer within `embedder.timeout`, also not on the retries."""

    family = "Timeout error"
