"""Choose a folder, ingest it, watch it, read the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from kb.errors import KnowledgeBaseError
from kb.html import render
from kb.report import IngestReport
from kb.types import Progress
from kb.widgets.background import in_background, start

if TYPE_CHECKING:
    from kb.knowledge_base import KnowledgeBase

__all__ = ["IngestPanel"]


class IngestPanel(widgets.VBox):  # type: ignore[misc]
    """`report` holds the last report."""

    def __init__(self, knowledge_base: KnowledgeBase, *, source: str, prune: bool, retry_failed: bool) -> None:
        self._knowledge_base = knowledge_base
        self._progress = Progress(0, 0, "")
        self.report: IngestReport | None = None
        wide = widgets.Layout(width="100%", max_width="60rem")
        self.source = widgets.Textarea(
            source, description="PDFs", placeholder="a folder or a file, one a line", rows=2, layout=wide
        )
        self.prune = widgets.Checkbox(prune, description="forget documents whose files are gone", indent=False)
        self.retry_failed = widgets.Checkbox(retry_failed, description="read failed files again", indent=False)
        self.button = widgets.Button(description="Ingest", button_style="primary", icon="play")
        self.bar = widgets.IntProgress(0, min=0, max=1, layout=widgets.Layout(width="20rem", visibility="hidden"))
        self.state = widgets.Label("")
        self.output = widgets.HTML()
        self.button.on_click(lambda _: start(self.run()))
        options = widgets.HBox([self.prune, self.retry_failed])
        super().__init__([self.source, options, widgets.HBox([self.button, self.bar, self.state]), self.output])

    async def run(self) -> None:
        """Ingests what is chosen; the report or the error is shown below."""
        self.button.disabled = True
        self.bar.layout.visibility = "visible"
        self.output.value = ""
        try:
            self.report = await in_background(self._ingest, self._refresh)
            self.output.value = self.report._repr_html_()
        except KnowledgeBaseError as error:
            self.output.value = render("error.html", error=error)
        finally:
            self.button.disabled = False
            self.bar.layout.visibility = "hidden"
            self.state.value = ""

    def _ingest(self) -> IngestReport:
        paths = [line.strip() for line in self.source.value.splitlines() if line.strip()]
        return self._knowledge_base.ingest(
            *paths, prune=self.prune.value, retry_failed=self.retry_failed.value, draw=self._note
        )

    def _note(self, progress: Progress) -> None:
        self._progress = progress

    def _refresh(self) -> None:
        progress = self._progress
        self.bar.max, self.bar.value = max(1, progress.total), progress.done
        self.state.value = f"{progress.stage} {progress.done}/{progress.total} {progress.detail}"

    def _repr_json_(self) -> dict[str, Any]:
        return self.report.to_dict() if self.report else {}
