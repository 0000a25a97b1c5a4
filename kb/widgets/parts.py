"""What several panels are made of: a style, a line of text that escapes itself, rows that wrap at any width."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from kb.errors import KnowledgeBaseError
from kb.html import render

__all__ = ["Panel", "button", "error_html", "field", "heading", "row"]


class Panel(widgets.VBox):  # type: ignore[misc]
    """A column of widgets in the style of all panels, readable in light and dark and at any width."""

    def __init__(self, children: list[Any]) -> None:
        super().__init__([widgets.HTML(render("style.html"), layout=widgets.Layout(margin="0", height="0")), *children])
        self.add_class("pdfkb-panel")


def row(*children: Any) -> Any:
    """Widgets side by side, in as many lines as the width asks for."""
    return widgets.Box(
        list(children), layout=widgets.Layout(flex_flow="row wrap", align_items="center", overflow="visible")
    )


def field(label: str, widget: Any, *, width: str = "14rem") -> Any:
    """An input with its label above it, so that it is never cut off; the label also is what a screen reader says."""
    widget.layout.width = "auto"
    widget.tooltip = label
    caption = widgets.Label(label, layout=widgets.Layout(height="1.4rem"))
    return widgets.VBox(
        [caption, widget], layout=widgets.Layout(width=width, flex=f"0 1 {width}", margin="0 .5rem 0 0")
    )


def heading(text: str) -> Any:
    """A line that begins a part of a panel."""
    return widgets.HTML(render("heading.html", text=text))


def button(label: str, icon: str, *, primary: bool = False, tooltip: str = "") -> Any:
    """A button as wide as its label."""
    return widgets.Button(
        description=label,
        icon=icon,
        tooltip=tooltip or label,
        button_style="primary" if primary else "",
        layout=widgets.Layout(width="auto"),
    )


def error_html(error: KnowledgeBaseError) -> str:
    """An error as every panel shows it."""
    return render("error.html", error=error)
