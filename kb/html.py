"""HTML for notebooks and report files, from templates that escape everything: text of a PDF is never markup."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render"]

FULL_LINE = 0.7  # of the longest line of a passage


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("kb"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"pieces": pieces, "flowing": flowing}
    return environment


def render(template: str, **values: Any) -> str:
    """A template of kb/templates filled in."""
    return _environment().get_template(template).render(**values)


def pieces(text: str, marks: Iterable[tuple[int, int]]) -> list[tuple[str, bool]]:
    """The text cut at its marks, each piece with whether it is marked."""
    cut: list[tuple[str, bool]] = []
    done = 0
    for start, end in sorted(marks):
        start = max(start, done)
        if start < end:
            cut += [(text[done:start], False), (text[start:end], True)]
            done = end
    return [piece for piece in [*cut, (text[done:], False)] if piece[0]]


def flowing(text: str) -> str:
    """The text with lines that fill their column run on, short ones (rows of a table, headings) kept; same length."""
    lines = text.split("\n")
    full = max(map(len, lines)) * FULL_LINE
    return "".join(line + (" " if len(line) >= full else "\n") for line in lines)[: len(text)]
