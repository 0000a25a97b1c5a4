"""What an engine found on one page, before any cleaning: lines with their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kb.types import PageStatus

__all__ = ["Line", "RawPage"]


class Line(NamedTuple):
    """A line of text and its box as displayed: points from the lower left corner, y upwards.

    A NamedTuple, not a dataclass: a document has a hundred thousand of them, and these are made and pickled fastest.
    """

    text: str
    left: float
    bottom: float
    right: float
    top: float

    @property
    def height(self) -> float:
        return self.top - self.bottom


@dataclass(slots=True)
class RawPage:
    """One page as read. `lines` are in reading order, each without its line end."""

    number: int
    label: str
    lines: list[Line]
    width: float = 0.0
    height: float = 0.0
    status: PageStatus = PageStatus.TEXT
    note: str = ""
    undecoded: bool = False  # text is drawn, but the engine found no characters for it

    @property
    def letters(self) -> int:
        """How much text there is."""
        return sum(len(line.text) for line in self.lines)
