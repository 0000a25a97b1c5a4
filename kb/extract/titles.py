"""A document's title as a person gave it; what programs write in its place is none."""

from __future__ import annotations

import re

__all__ = ["given_title"]

# What programs call a document that nobody has named.
OF_PROGRAMS = frozenset(
    {
        "(anonymous)",
        "contents",
        "document",
        "document1",
        "no title",
        "powerpoint presentation",
        "presentation title",
        "slide 1",
        "title",
        "unspecified",
        "untitled",
        "untitled document",
        "untitled-1",
    }
)
# "Microsoft Word - Benefits 2024.docx" is the name of a file, and of the program that printed it.
PROGRAM = re.compile(r"^Microsoft (?:Word|PowerPoint|Excel) - ", re.I)
SUFFIX = re.compile(r"\.(?:docx?|pptx?|xlsx?|odt|rtf|pdf|html?|indd|qxd|qxp|pub|fm|tex|dvi)$", re.I)
# Filings and prints are numbered, "0001018724-18-000005"; "1984" is a title.
LEAST_DIGITS = 5


def given_title(told: str) -> str:
    """The title in what a PDF tells as one, its spaces single; empty where it is none."""
    title = SUFFIX.sub("", PROGRAM.sub("", told)).strip()
    is_number = sum(map(str.isdigit, title)) >= LEAST_DIGITS and not any(map(str.isalpha, title))
    return "" if is_number or title.casefold() in OF_PROGRAMS else title
