"""The page itself, with the passage marked on it; previous and next page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from kb.errors import KnowledgeBaseError
from kb.page_view import PageView
from kb.types import Hit
from kb.widgets.background import in_background, start
from kb.widgets.parts import button, error_html, row

if TYPE_CHECKING:
    from kb.knowledge_base import KnowledgeBase

__all__ = ["PagePanel"]


class PagePanel(widgets.VBox):  # type: ignore[misc]
    """`view` holds what is shown."""

    def __init__(self, knowledge_base: KnowledgeBase) -> None:
        self._knowledge_base = knowledge_base
        self._hit: Hit | None = None
        self._wanted = 0
        self.view: PageView | None = None
        self.previous = button("Previous page", "arrow-left")
        self.following = button("Next page", "arrow-right")
        self.back = button("The passage's page", "crosshairs")
        self.place = widgets.Label("")
        self.output = widgets.HTML()
        self.previous.on_click(lambda _: self._turn(-1))
        self.following.on_click(lambda _: self._turn(+1))
        self.back.on_click(lambda _: self._return())
        super().__init__([row(self.previous, self.following, self.back, self.place), self.output])

    async def show(self, hit: Hit, page: int | None = None) -> None:
        """Shows a page of the hit's document, the passage's own unless another is named."""
        self._hit, self._wanted = hit, page or hit.page
        wanted = self._wanted
        try:
            view = await in_background(lambda: self._knowledge_base.view_page(hit, page=wanted))
        except KnowledgeBaseError as error:
            self.output.value = error_html(error)
            return
        if (self._hit, self._wanted) != (hit, wanted):  # another page was asked for meanwhile
            return
        self.view = view
        self.output.value = view._repr_html_()
        self.place.value = f"{view.name}, page {view.page} of {view.page_count}"
        self.previous.disabled = view.page <= 1
        self.following.disabled = view.page >= view.page_count
        self.back.disabled = view.page == hit.page

    def _return(self) -> None:
        if self._hit is not None:
            start(self.show(self._hit))

    def _turn(self, pages: int) -> None:
        if self._hit is not None:
            start(self.show(self._hit, max(1, self._wanted + pages)))
