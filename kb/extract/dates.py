"""Dates as PDF files write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

__all__ = ["parse_date"]

_DATE = re.compile(
    r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?\d*\s*(?:([+-])(\d\d)'?(\d\d)?'?|Z)?",
)


def parse_date(text: str) -> datetime | None:
    """The time that "D:20260523171205+02'00'" means, always with a zone (UTC where none is given); None if none is."""
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return _parse_iso(text)
    year, month, day, hour, minute, second = (int(part) if part else None for part in match.groups()[:6])
    sign, hours, minutes = match.groups()[6:]
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    try:
        zone = timezone(offset) if offset else UTC
        return datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0, tzinfo=zone)
    except ValueError:
        return _parse_iso(text)


def _parse_iso(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
