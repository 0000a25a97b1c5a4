"""Running headers and footers, and page numbers: what stands in the same place of page after page."""

from __future__ import annotations

from collections.abc import Sequence

from kb.extract.layout import RawPage

__all__ = ["remove_furniture"]


def remove_furniture(pages: Sequence[RawPage]) -> None:
    """Take the lines away, in place, that repeat at the top or bottom of more than half of the pages."""
