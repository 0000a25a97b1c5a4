"""What is wrong and what to do: the endpoint check by check, the collection, and a query that disappoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets as widgets

from kb.errors import KnowledgeBaseError
from kb.explain import Explanation
from kb.html import render
from kb.trouble import SYMPTOMS
from kb.widgets.background import in_background, start
from kb.widgets.checks_view import ChecksView
from kb.widgets.parts import Panel, button, error_html, field, heading, row

if TYPE_CHECKING:
    from kb.knowledge_base import KnowledgeBase

__all__ = ["TroubleshootingPanel"]


class TroubleshootingPanel(Panel):
    """`explanation` holds the last one."""

    def __init__(self, open_anew: Callable[[], KnowledgeBase], *, query: str, document: str, page: int) -> None:
        self._open_anew = open_anew
        self._knowledge_base: KnowledgeBase | None = None
        self.explanation: Explanation | None = None
        symptoms = widgets.HTML(render("symptom_table.html", symptoms=SYMPTOMS))
        self.again = button("Try again", "refresh", primary=True, tooltip="Read the configuration and check it anew")
        self.checks = ChecksView()
        self.looked = widgets.HTML()
        self.query = widgets.Text(query, placeholder="the question that found the wrong things, or nothing")
        self.document = widgets.Text(document, placeholder="report.pdf")
        self.page = widgets.BoundedIntText(page, min=0, max=1_000_000)
        self.ask = button("Explain", "search", primary=True)
        self.output = widgets.HTML()
        self.again.on_click(lambda _: start(self.run()))
        self.ask.on_click(lambda _: start(self.explain()))
        for widget in (self.query, self.document):
            widget.on_msg(lambda _, content, __: self._entered(content))
        question = row(
            field("Question", self.query, width="24rem"),
            field("Expected document", self.document),
            field("Its page, 0 for any", self.page, width="9rem"),
        )
        super().__init__(
            [
                *(heading("What the messages mean"), symptoms),
                *(heading("The endpoint, step by step"), row(self.again), self.checks),
                *(heading("The collection, and what makes an ingest slow"), self.looked),
                *(heading("A question that finds nothing, or the wrong thing"), question, row(self.ask), self.output),
            ]
        )

    def begin(self) -> None:
        """Checks at once, for whoever opens this has trouble already."""
        start(self.run())

    async def run(self) -> None:
        """Every check, with the configuration as it is now."""
        self.again.disabled = True
        self.looked.value = ""
        try:
            knowledge_base = self._opened(anew=True)
            await self.checks.run(knowledge_base.diagnose)
            findings = await in_background(knowledge_base.findings)
            self.looked.value = render("collection.html", findings=findings)
        except KnowledgeBaseError as error:
            self.looked.value = error_html(error)
        finally:
            self.again.disabled = False

    async def explain(self) -> None:
        """What each list ranked, and why the page expected was missed."""
        self.ask.disabled = True
        try:
            self.explanation = await in_background(
                lambda: self._opened().explain(
                    self.query.value, document=self.document.value.strip(), page=self.page.value
                )
            )
            self.output.value = self.explanation._repr_html_()
        except KnowledgeBaseError as error:
            self.output.value = error_html(error)
        finally:
            self.ask.disabled = False

    def _opened(self, *, anew: bool = False) -> KnowledgeBase:
        """Opened anew for every try: the configuration file is what one mends between two of them."""
        if anew or self._knowledge_base is None:
            if self._knowledge_base is not None:
                self._knowledge_base.close()
                self._knowledge_base = None
            self._knowledge_base = self._open_anew()
        return self._knowledge_base

    def _entered(self, content: dict[str, object]) -> None:
        if content.get("event") == "submit":
            start(self.explain())
