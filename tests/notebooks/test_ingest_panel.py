"""The ingest panel in a kernel that goes on while its tab is closed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from making import make_pdf, write_config

from kb import KnowledgeBase
from kb.report import Outcome
from kb.widgets import IngestPanel


def test_a_cell_that_is_run_again_finds_the_ingest_that_is_under_way(tmp_path: Path, endpoint: str) -> None:
    paper = make_pdf(tmp_path / "papers" / "a.pdf", ["Bees dance to tell where flowers are."])
    config = write_config(tmp_path / "kb", endpoint)
    other = write_config(tmp_path / "other", endpoint)

    async def story() -> None:
        with (
            KnowledgeBase.open(config) as first,
            KnowledgeBase.open(config) as again,
            KnowledgeBase.open(other, storage={"uri": str(tmp_path / "elsewhere")}) as elsewhere,
        ):
            panel = IngestPanel(first, source=str(paper), prune=False, retry_failed=False)
            assert IngestPanel.under_way(again) is None
            running = asyncio.create_task(panel.run())
            await asyncio.sleep(0)
            assert IngestPanel.under_way(again) is panel
            assert not panel.stop.disabled
            assert IngestPanel.under_way(elsewhere) is None
            await running
            assert panel.report is not None
            assert panel.report.count(Outcome.ADDED) == 1
            assert IngestPanel.under_way(again) is None

    asyncio.run(story())
