"""Ask, narrow down, read the cited passages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from kb.errors import KnowledgeBaseError
from kb.html import render
from kb.results import SearchResult
from kb.widgets.background import in_background, start

if TYPE_CHECKING:
    from kb.knowledge_base import KnowledgeBase

__all__ = ["SearchPanel"]


class SearchPanel(widgets.VBox):  # type: ignore[misc]
    """`result` holds the last result."""

    def __init__(
        self,
        knowledge_base: KnowledgeBase,
        *,
        query: str,
        limit: int,
        mode: str,
        documents: str,
        pages: str,
        after: str,
        before: str,
        title: str,
    ) -> None:
        self._knowledge_base = knowledge_base
        self.result: SearchResult | None = None
        wide = widgets.Layout(width="100%", max_width="60rem")
        self.query = widgets.Text(query, placeholder="Ask your documents, then press Enter", layout=wide)
        self.button = widgets.Button(description="Search", button_style="primary", icon="search")
        self.mode = widgets.Dropdown(options=["hybrid", "vector", "text"], value=mode, description="mode")
        self.limit = widgets.BoundedIntText(limit, min=1, max=100, description="hits")
        self.documents = widgets.Text(documents, description="document", placeholder="name or pattern")
        self.pages = widgets.Text(pages, description="pages", placeholder="3-9")
        self.after = widgets.Text(after, description="after", placeholder="2022-05-31")
        self.before = widgets.Text(before, description="before", placeholder="2022")
        self.title = widgets.Text(title, description="title", placeholder="part of it")
        self.output = widgets.HTML()
        self.button.on_click(lambda _: start(self.run()))
        self.query.continuous_update = False
        self.query.observe(lambda _: start(self.run()), names="value")
        narrow = widgets.Accordion(
            [
                widgets.VBox(
                    [
                        widgets.HBox([self.mode, self.limit]),
                        widgets.HBox([self.documents, self.title, self.pages]),
                        widgets.HBox([self.after, self.before]),
                    ]
                )
            ],
            titles=("Narrow down",),
            selected_index=None,
        )
        super().__init__([widgets.HBox([self.query, self.button]), narrow, self.output])

    async def run(self) -> None:
        """Asks what is typed; hits or the error are shown below."""
        self.button.disabled = True
        try:
            self.result = await in_background(self._search)
            self.output.value = self.result._repr_html_()
        except KnowledgeBaseError as error:
            self.output.value = render("error.html", error=error)
        finally:
            self.button.disabled = False

    def _search(self) -> SearchResult:
        return self._knowledge_base.search(
            self.query.value,
            k=self.limit.value,
            mode=self.mode.value,
            documents=self.documents.value or (),
            pages=self.pages.value,
            after=self.after.value,
            before=self.before.value,
            title=self.title.value,
        )
