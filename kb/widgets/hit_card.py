"""One hit as a card: citation, passage, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets as widgets

from kb.html import render
from kb.judgements import Judgement
from kb.types import Hit
from kb.widgets.page_panel import PagePanel
from kb.widgets.parts import button, row

__all__ = ["CardActions", "HitCard"]


@dataclass(frozen=True, slots=True)
class CardActions:
    """What a card asks of its panel."""

    open: Callable[[HitCard], None]
    more_like: Callable[[Hit], None]
    mark: Callable[[Hit, Judgement | None], None]


class HitCard(widgets.VBox):  # type: ignore[misc]
    """Made once and filled again for every search: new widgets cost a browser far more than new texts."""

    def __init__(self, actions: CardActions) -> None:
        self._actions = actions
        self._filling = False
        self.hit: Hit | None = None
        self.title = button("", "", tooltip="Show the page, or hide it again")
        self.title.add_class("pdfkb-title")
        self.body = widgets.HTML()
        self.more = button("More like this", "clone", tooltip="Passages that say something similar")
        self.right = _toggle("Right", "check", "This answers the question: keep it for the evaluation")
        self.wrong = _toggle("Wrong", "times", "This does not answer the question: keep that for the evaluation")
        self.copy = widgets.HTML()
        self.title.on_click(lambda _: actions.open(self))
        self.more.on_click(lambda _: self._more())
        self.right.observe(lambda change: self._marked("relevant", change["new"]), names="value")
        self.wrong.observe(lambda change: self._marked("wrong", change["new"]), names="value")
        self._own = [self.title, self.body, row(self.more, self.right, self.wrong, self.copy)]
        super().__init__(self._own)
        self.add_class("pdfkb-card")

    def fill(self, hit: Hit, judgement: Judgement | None, *, can_judge: bool) -> None:
        """Shows a hit."""
        self.hit = hit
        self.title.description = f"{hit.rank}. {hit.citation}"
        self.body.value = render("hit_card.html", hit=hit)
        self.copy.value = render("copy.html", label="Copy citation", text=hit.citation)
        self._filling = True
        self.right.value, self.wrong.value = judgement == "relevant", judgement == "wrong"
        self._filling = False
        self.right.layout.display = self.wrong.layout.display = None if can_judge else "none"

    def show_page(self, page: PagePanel | None) -> None:
        """Puts the page below the passage, or takes it away."""
        self.children = [*self._own, page] if page is not None else self._own
        (self.add_class if page is not None else self.remove_class)("pdfkb-open")

    def _more(self) -> None:
        if self.hit is not None:
            self._actions.more_like(self.hit)

    def _marked(self, judgement: Judgement, on: bool) -> None:
        if self._filling or self.hit is None:
            return
        other = self.wrong if judgement == "relevant" else self.right
        if on and other.value:
            self._filling = True
            other.value = False
            self._filling = False
        self._actions.mark(self.hit, judgement if on else None)


def _toggle(label: str, icon: str, tooltip: str) -> widgets.ToggleButton:
    layout = widgets.Layout(width="auto")
    return widgets.ToggleButton(description=label, icon=icon, tooltip=tooltip, layout=layout)
