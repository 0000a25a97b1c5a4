"""Choose PDFs, see what would change, ingest them, stop and go on, read the report, retry what failed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from kb.errors import KnowledgeBaseError
from kb.preview import IngestPreview
from kb.report import IngestReport, Outcome
from kb.widgets.background import in_background, start
from kb.widgets.parts import Panel, button, error_html, row
from kb.widgets.progress_bar import ProgressBar
from kb.widgets.source_chooser import SourceChooser

if TYPE_CHECKING:
    from kb.knowledge_base import KnowledgeBase

__all__ = ["IngestPanel"]

_under_way: list[IngestPanel] = []


class IngestPanel(Panel):
    """`report` holds the last report, `preview` the last preview."""

    def __init__(self, knowledge_base: KnowledgeBase, *, source: str, prune: bool, retry_failed: bool) -> None:
        self._knowledge_base = knowledge_base
        self._stop = threading.Event()
        self.report: IngestReport | None = None
        self.preview: IngestPreview | None = None
        self.chooser = SourceChooser(source, knowledge_base.uploads)
        self.prune = _checkbox(prune, "forget documents whose files are gone")
        self.retry_failed = _checkbox(retry_failed, "read failed files again")
        self.look = button("What would change?", "eye")
        self.button = button("Ingest", "play", primary=True)
        self.stop = button("Stop", "stop", tooltip="Stop after the documents that are done; go on later")
        self.retry = button("Retry failed", "repeat")
        self.progress = ProgressBar()
        self.output = widgets.HTML()
        self.look.on_click(lambda _: start(self.look_ahead()))
        self.button.on_click(lambda _: start(self.run()))
        self.stop.on_click(lambda _: self.ask_to_stop())
        self.retry.on_click(lambda _: start(self.run(retry=True)))
        self.stop.disabled = True
        self.retry.layout.display = "none"
        options = row(self.prune, self.retry_failed)
        actions = row(self.look, self.button, self.stop, self.retry)
        super().__init__([self.chooser, options, actions, self.progress, self.output])

    @classmethod
    def under_way(cls, knowledge_base: KnowledgeBase) -> IngestPanel | None:
        """The panel of this kernel that is writing to the same collection: a tab that is opened again finds it."""
        storage = knowledge_base.settings.storage
        return next((panel for panel in _under_way if panel._knowledge_base.settings.storage == storage), None)

    async def look_ahead(self) -> None:
        """Shows what an ingest would do."""
        self._busy(True, "looking at the files")
        try:
            self.preview = await in_background(self._preview, self.progress.refresh)
            self.output.value = self.preview._repr_html_()
        except KnowledgeBaseError as error:
            self.output.value = error_html(error)
        finally:
            self._busy(False)

    async def run(self, *, retry: bool = False) -> None:
        """Ingests what is chosen, or the failed files of the last run; the report or the error is shown below."""
        paths = self._failed() if retry else self.chooser.paths
        self._stop.clear()
        self._busy(True)
        _under_way.append(self)
        self.output.value = ""
        try:
            self.report = await in_background(lambda: self._ingest(paths, retry), self.progress.refresh)
            self.output.value = self.report._repr_html_()
            self.button.description = "Go on" if self.report.stopped else "Ingest"
            self.retry.layout.display = None if self._failed() else "none"
        except KnowledgeBaseError as error:
            self.output.value = error_html(error)
        finally:
            _under_way.remove(self)
            self._busy(False)

    def ask_to_stop(self) -> None:
        """Ends the run at the next border between documents; what is done is kept."""
        self._stop.set()
        self.stop.description, self.stop.disabled = "Stopping …", True

    def _ingest(self, paths: Sequence[str], retry: bool) -> IngestReport:
        return self._knowledge_base.ingest(
            *paths,
            prune=self.prune.value and not retry,
            retry_failed=self.retry_failed.value or retry,
            draw=self.progress.note,
            stop=self._stop.is_set,
        )

    def _preview(self) -> IngestPreview:
        return self._knowledge_base.preview(
            *self.chooser.paths, prune=self.prune.value, retry_failed=self.retry_failed.value
        )

    def _failed(self) -> list[str]:
        files = self.report.files if self.report else ()
        return [file.path for file in files if file.outcome is Outcome.FAILED]

    def _busy(self, busy: bool, what: str = "") -> None:
        for widget in (self.look, self.button, self.retry):
            widget.disabled = busy
        self.stop.disabled = not busy or bool(what)
        self.stop.description = "Stop"
        (self.progress.begin if busy else self.progress.end)()

    def _repr_json_(self) -> dict[str, Any]:
        return self.report.to_dict() if self.report else {}


def _checkbox(value: bool, label: str) -> widgets.Checkbox:
    return widgets.Checkbox(value, description=label, indent=False, layout=widgets.Layout(width="auto"))
