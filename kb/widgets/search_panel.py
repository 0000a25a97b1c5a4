"""Ask, narrow down, read the cited passages, and see them on their pages."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from kb.errors import KnowledgeBaseError
from kb.html import render
from kb.judgements import Judgement, Judgements
from kb.results import SearchResult
from kb.types import Hit
from kb.widgets.background import in_background, start
from kb.widgets.hit_card import CardActions, HitCard
from kb.widgets.page_panel import PagePanel
from kb.widgets.parts import Panel, button, error_html, field, row

if TYPE_CHECKING:
    from kb.knowledge_base import KnowledgeBase

__all__ = ["SearchPanel"]

FILTERS = ("documents", "title", "pages", "after", "before")
NOTHING = "Nothing found. Ask with other words, widen the filters, or see troubleshooting.ipynb: it tells why."
# On Enter the browser may tell of the key before it tells of the new text.
SETTLE_SECONDS = 0.03


class SearchPanel(Panel):
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
        judgements: Judgements,
    ) -> None:
        self._knowledge_base, self._judgements = knowledge_base, judgements
        self._asked = 0
        self._open: HitCard | None = None
        self.result: SearchResult | None = None
        wide = widgets.Layout(flex="1 1 20rem", width="auto")
        self.query = widgets.Text(
            query, placeholder="Ask your documents, then press Enter", layout=wide, continuous_update=False
        )
        self.button = button("Search", "search", primary=True)
        self.narrow = widgets.ToggleButton(
            description="Narrow down", icon="filter", layout=widgets.Layout(width="auto")
        )
        self.mode = widgets.Dropdown(options=["hybrid", "vector", "text"], value=mode)
        self.limit = widgets.BoundedIntText(limit, min=1, max=100)
        self.documents = _text(documents, "report.pdf or *-2022-*")
        self.title = _text(title, "part of it")
        self.pages = _text(pages, "3-9")
        self.after = _text(after, "2021")
        self.before = _text(before, "2022-05-31")
        self.filters = row(
            field("Lists searched", self.mode, width="9rem"),
            field("Hits", self.limit, width="6rem"),
            field("Only document", self.documents),
            field("Only title", self.title, width="11rem"),
            field("Pages", self.pages, width="6rem"),
            field("Created after", self.after, width="8rem"),
            field("Created before", self.before, width="8rem"),
        )
        self.found = widgets.HTML()
        self.output = widgets.HTML()
        self._actions = CardActions(open=self.toggle_page, more_like=self._ask_for_more, mark=self.mark)
        self.cards = [HitCard(self._actions) for _ in range(limit)]
        self.hits = widgets.VBox([])
        self.page = PagePanel(knowledge_base)
        super().__init__([row(self.query, self.button, self.narrow), self.filters, self.found, self.output, self.hits])
        self._connect()

    def _connect(self) -> None:
        self._show_filters()
        self.narrow.observe(lambda _: self._show_filters(), names="value")
        self.button.on_click(lambda _: start(self.run()))
        self.query.on_msg(self._entered)
        for widget in (self.query, self.mode, self.limit, *(getattr(self, name) for name in FILTERS)):
            widget.observe(lambda _: start(self.run()), names="value")

    def warm_up(self) -> None:
        """Asks the endpoint what it is, so that the first question need not wait for that; errors show when asked."""
        start(self._warm_up())

    async def _warm_up(self) -> None:
        try:
            await in_background(self._knowledge_base.warm_up)
        except KnowledgeBaseError as error:
            self.output.value = error_html(error)

    async def run(self) -> None:
        """Asks what is typed; hits or the error are shown below."""
        if self.query.value.strip():
            await self._show(self._search, can_judge=True)

    async def more_like(self, hit: Hit) -> None:
        """Shows the passages most like a hit."""
        await self._show(
            lambda: self._knowledge_base.more_like(hit, k=self.limit.value), can_judge=False, like=hit.citation
        )

    async def _show(self, work: Callable[[], SearchResult], *, can_judge: bool, like: str = "") -> None:
        self._asked += 1
        mine = self._asked
        started = time.perf_counter()
        try:
            result = await in_background(work)
            documents = self._knowledge_base.store.documents()
        except KnowledgeBaseError as error:
            if mine == self._asked:
                self._fill([], "", can_judge=False)
                self.found.value, self.output.value = "", error_html(error)
            return
        if mine != self._asked:  # a newer question is under way
            return
        self.result, self.output.value = result, ""
        self._fill(result, result.query, can_judge=can_judge)
        about = f"like {like}" if like else f"for “{result.query}”"
        count = f"{len(result)} {'passage' if len(result) == 1 else 'passages'} {about}"
        self.found.value = render(
            "found.html",
            line=f"{count}, {(time.perf_counter() - started) * 1000:.0f} ms",
            csv=_data_url("text/csv", result.to_csv()) if result else "",
            bibtex=_data_url("application/x-bibtex", result.to_bibtex(documents)) if result else "",
            advice="" if result else NOTHING,
        )

    def _fill(self, hits: list[Hit], query: str, *, can_judge: bool) -> None:
        self._close_page()
        while len(self.cards) < len(hits):
            self.cards.append(HitCard(self._actions))
        for card, hit in zip(self.cards, hits, strict=False):
            card.fill(hit, self._judgements.of(query, hit) if can_judge else None, can_judge=can_judge)
        if len(self.hits.children) != len(hits):
            self.hits.children = self.cards[: len(hits)]

    def toggle_page(self, card: HitCard) -> None:
        """Shows the page of a hit under its card, or hides it."""
        opened = card is self._open
        self._close_page()
        if not opened and card.hit is not None:
            self._open = card
            self.page.output.value = ""
            card.show_page(self.page)
            start(self.page.show(card.hit))

    def mark(self, hit: Hit, judgement: Judgement | None) -> None:
        """Keeps a hit as right or wrong for the question asked."""
        if self.result is None:
            return
        try:
            self._judgements.mark(self.result.query, hit, judgement)
            self.output.value = render("kept.html", file=self._judgements.file)
        except KnowledgeBaseError as error:
            self.output.value = error_html(error)

    def _ask_for_more(self, hit: Hit) -> None:
        start(self.more_like(hit))

    def _close_page(self) -> None:
        if self._open is not None:
            self._open.show_page(None)
            self._open = None

    def _show_filters(self) -> None:
        self.filters.layout.display = "flex" if self.narrow.value else "none"

    def _entered(self, _: object, content: dict[str, Any], __: object) -> None:
        if content.get("event") == "submit":
            start(self._ask_unless_asked(self._asked))

    async def _ask_unless_asked(self, asked: int) -> None:
        """Enter asks again also where the text is as before; a changed text has asked by itself."""
        await asyncio.sleep(SETTLE_SECONDS)
        if self._asked == asked:
            await self.run()

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


def _text(value: str, placeholder: str) -> widgets.Text:
    return widgets.Text(value, placeholder=placeholder, continuous_update=False)


def _data_url(kind: str, text: str) -> str:
    return f"data:{kind};charset=utf-8;base64," + base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
