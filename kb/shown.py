"""Results that show themselves in a notebook: to a person as a report, to a scheduler as a report and as data."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any

from kb.html import render
from kb.presence import someone_is_there

__all__ = ["Shown"]


class Shown:
    """Report and data are two outputs: where one output holds both, JupyterLab shows the data alone."""

    __slots__ = ()

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""

    @abstractmethod
    def to_text(self) -> str:
        """The result where there is no HTML."""

    @abstractmethod
    def _repr_html_(self) -> str: ...

    def write_html(self, path: str | os.PathLike[str], *, title: str) -> None:
        """Writes the report as a page of its own."""
        Path(path).write_text(render("page.html", title=title, body=self), "utf-8")

    def as_report(self) -> dict[str, str]:
        """The output that a person reads."""
        return {"text/plain": self.to_text(), "text/html": self._repr_html_()}

    def show_data(self) -> None:
        """The output that a program reads, closed where a person opens it; none while someone is there."""
        if not someone_is_there():
            _display({"application/json": self.to_dict()}, {"application/json": {"expanded": False}})

    def _ipython_display_(self) -> None:
        _display(self.as_report(), {})
        self.show_data()


def _display(bundle: dict[str, Any], metadata: dict[str, Any]) -> None:
    from IPython.display import publish_display_data

    publish_display_data(bundle, metadata)  # type: ignore[no-untyped-call]
