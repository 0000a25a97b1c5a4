"""Reading order on pages with columns."""

from __future__ import annotations

from kb.extract.layout import RawPage

__all__ = ["order_columns"]


def order_columns(page: RawPage) -> None:
    """Put the lines of `page`, in place, into the order in which a person reads them."""
