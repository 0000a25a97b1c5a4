"""Panels for notebooks: each a thin view over `KnowledgeBase`. They appear only where someone is there to use them."""

from kb.presence import can_be_asked, someone_is_there
from kb.widgets.ingest_panel import IngestPanel
from kb.widgets.maintenance_panel import MaintenancePanel
from kb.widgets.search_panel import SearchPanel
from kb.widgets.setup_panel import SetupPanel
from kb.widgets.troubleshooting_panel import TroubleshootingPanel
from kb.widgets.write_settings import WriteSettings

__all__ = [
    "IngestPanel",
    "MaintenancePanel",
    "SearchPanel",
    "SetupPanel",
    "TroubleshootingPanel",
    "WriteSettings",
    "can_be_asked",
    "someone_is_there",
]
