"""Panels for notebooks: each a thin view over `KnowledgeBase`. They appear only where someone is there to use them."""

from kb.widgets.ingest_panel import IngestPanel
from kb.widgets.presence import someone_is_there
from kb.widgets.search_panel import SearchPanel

__all__ = ["IngestPanel", "SearchPanel", "someone_is_there"]
