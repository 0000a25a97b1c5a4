"""Health, runs, space, drift and map on one page; backup, restore and migrate by a button."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets

from kb.backup import backups_in
from kb.errors import KnowledgeBaseError
from kb.html import render
from kb.maintenance import Maintenance
from kb.widgets.background import in_background, start
from kb.widgets.parts import Panel, button, error_html, field, heading, row
from kb.widgets.progress_bar import ProgressBar

if TYPE_CHECKING:
    from kb.knowledge_base import KnowledgeBase

__all__ = ["MaintenancePanel"]


class MaintenancePanel(Panel):
    """`state` holds what was shown last."""

    def __init__(self, knowledge_base: KnowledgeBase, *, backup_to: str) -> None:
        self._knowledge_base = knowledge_base
        self.state: Maintenance | None = None
        self.refresh = button("Look again", "refresh", primary=True)
        self.folder = widgets.Text(backup_to or "backups", continuous_update=False)
        self.backup = button("Back up", "archive")
        self.chosen = widgets.Dropdown(options=[("no backup in that folder", "")])
        self.restore = button("Restore", "undo", tooltip="Only where there is no collection yet")
        self.sure = widgets.Checkbox(
            False, description="yes, embed every passage anew", indent=False, layout=widgets.Layout(width="auto")
        )
        self.migrate = button("Migrate", "exchange", tooltip="After the endpoint's model has changed")
        self.progress = ProgressBar()
        self.done = widgets.HTML()
        self.output = widgets.HTML()
        self.refresh.on_click(lambda _: start(self.look()))
        self.backup.on_click(lambda _: start(self.run(self._back_up)))
        self.restore.on_click(lambda _: start(self.run(self._restore)))
        self.migrate.on_click(lambda _: start(self.run(self._migrate)))
        self.folder.observe(lambda _: self._list_backups(), names="value")
        self.sure.observe(lambda _: self._enable(), names="value")
        self._list_backups()
        super().__init__(
            [
                heading("Backup, restore, migrate"),
                row(field("Folder of backups", self.folder, width="18rem"), self.backup),
                row(field("Backup", self.chosen, width="24rem"), self.restore),
                row(self.sure, self.migrate),
                self.progress,
                self.done,
                heading("State of the collection"),
                row(self.refresh),
                self.output,
            ]
        )
        self._enable()

    def begin(self) -> None:
        """Looks at once."""
        start(self.look())

    async def look(self) -> None:
        """Shows the state as it is now."""
        self.refresh.disabled = True
        try:
            self.state = await in_background(self._knowledge_base.maintenance)
            self.output.value = self.state._repr_html_()
        except KnowledgeBaseError as error:
            self.output.value = error_html(error)
        finally:
            self.refresh.disabled = False

    async def run(self, work: Callable[[], str]) -> None:
        """Does something that takes time, tells what came of it, and looks again."""
        for widget in (self.backup, self.restore, self.migrate):
            widget.disabled = True
        self.progress.begin()
        try:
            self.done.value = render("done.html", line=await in_background(work, self.progress.refresh))
        except KnowledgeBaseError as error:
            self.done.value = error_html(error)
        finally:
            self.progress.end()
            self.sure.value = False
            self._list_backups()
        await self.look()

    def _back_up(self) -> str:
        folder = Path(self.folder.value).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        made = self._knowledge_base.backup(folder)
        return f"Backed up {made.documents} documents, {made.chunks} passages into {made.file}."

    def _restore(self) -> str:
        restored = self._knowledge_base.restore(self.chosen.value)
        return f"Restored {restored.documents} documents, {restored.chunks} passages as of {restored.made_at}."

    def _migrate(self) -> str:
        return f"Embedded {self._knowledge_base.migrate(draw=self.progress.note)} passages anew."

    def _list_backups(self) -> None:
        found = backups_in(Path(self.folder.value).expanduser())
        self.chosen.options = [(file.name, str(file)) for file in found] or [("no backup in that folder", "")]
        self._enable()

    def _enable(self) -> None:
        self.backup.disabled = False
        self.restore.disabled = not self.chosen.value
        self.migrate.disabled = not self.sure.value
