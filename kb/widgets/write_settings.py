"""A button that writes settings into the configuration, for whoever has looked at them first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from kb.errors import KnowledgeBaseError
from kb.html import render

if TYPE_CHECKING:
    from kb.knowledge_base import KnowledgeBase

__all__ = ["WriteSettings"]


class WriteSettings(widgets.VBox):  # type: ignore[misc]
    """Shows what would change, and changes it when asked to."""

    def __init__(self, knowledge_base: KnowledgeBase, changes: Mapping[str, Mapping[str, Any]]) -> None:
        self._knowledge_base, self._changes = knowledge_base, changes
        self.button = widgets.Button(
            description="Write to the configuration",
            icon="save",
            disabled=not changes,
            layout=widgets.Layout(width="auto", align_self="flex-start"),
        )
        self.output = widgets.HTML(render("settings_written.html", changes=changes, file=None))
        self.button.on_click(lambda _: self.write())
        super().__init__([self.output, self.button])

    def write(self) -> None:
        """Writes them; what came of it is shown above the button."""
        try:
            file = self._knowledge_base.write_settings(self._changes)
            self.output.value = render("settings_written.html", changes=self._changes, file=file)
            self.button.disabled = True
        except KnowledgeBaseError as error:
            self.output.value = render("error.html", error=error)
