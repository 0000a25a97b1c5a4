"""Ask your PDFs: `KnowledgeBase.open().ingest(folder)`, then `.search(question)`; every hit cites document and page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kb.knowledge_base import KnowledgeBase

__all__ = ["KnowledgeBase", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Importing kb costs nothing; litellm and LanceDB (seconds) are loaded by what needs them.
    if name == "KnowledgeBase":
        from kb.garbage import without_collection

        with without_collection():
            from kb.knowledge_base import KnowledgeBase

        return KnowledgeBase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
