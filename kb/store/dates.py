"""Dates as people type them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time

from kb.errors import QueryError

__all__ = ["parse_date"]


def parse_date(text: str, *, end_of_day: bool = False) -> datetime:
    """An ISO date or time, in UTC where it names no zone; "2022" and "2022-05" are their first (or last) day."""
    padded = _whole_date(text.strip(), end_of_day)
    try:
        if len(padded) == len("2022-05-01"):
            moment = time.max if end_of_day else time.min
            return datetime.combine(date.fromisoformat(padded), moment, UTC)
        parsed = datetime.fromisoformat(padded)
    except ValueError:
        raise QueryError(f"{text[:40]!r} is not a date", where="date", fix="Write it as 2022-05-31.") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _whole_date(text: str, end_of_day: bool) -> str:
    if re.fullmatch(r"\d{4}", text):
        return f"{text}-12-31" if end_of_day else f"{text}-01-01"
    if re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        year, month = int(text[:4]), int(text[5:])
        if not end_of_day:
            return f"{text}-01"
        following = date(year + month // 12, month % 12 + 1, 1) if (year, month) < (9999, 12) else date(9999, 12, 31)
        return date.fromordinal(following.toordinal() - 1).isoformat()
    return text
