"""A page of the collection as a picture, with the passage of a hit marked on it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from kb.errors import PageError
from kb.extract import Rectangle, find_on_page, page_picture
from kb.extract.pdfium_reader import PasswordNeededError
from kb.html import render
from kb.types import Document, Hit

__all__ = ["PageView", "view_page"]

# Dots per point: sharp enough for small print on a dense screen, drawn and sent in some 60 ms.
SCALE = 1.75


@dataclass(frozen=True, slots=True)
class PageView:
    """One page. Boxes are shares of its width and height."""

    document: str
    page: int
    page_count: int
    picture: bytes  # PNG
    passage: tuple[Rectangle, ...] = ()
    marked: tuple[Rectangle, ...] = ()  # the sentences that matched
    note: str = ""

    @property
    def name(self) -> str:
        """The file's name."""
        return self.document.rsplit("/", 1)[-1]

    @property
    def picture_url(self) -> str:
        """The picture as a data: URL."""
        return "data:image/png;base64," + base64.b64encode(self.picture).decode("ascii")

    def _repr_html_(self) -> str:
        return render("page_view.html", view=self)


def view_page(
    hit: Hit, page: int, *, documents: Mapping[str, Document], passwords: Sequence[SecretStr] = ()
) -> PageView:
    """A page of the hit's document, its passage marked where it stands there. Raises PageError."""
    known = next((documents[path] for path in (hit.document, *hit.also_in) if path in documents), None)
    path = next((Path(path) for path in (hit.document, *hit.also_in) if Path(path).is_file()), None)
    if path is None:
        raise PageError(
            "the file is not there any more", where=hit.document, fix="Put it back, or run kb ingest with --prune."
        )
    picture, password = _opened(path, page, passwords)
    here = hit.page <= page <= hit.last_page
    return PageView(
        document=str(path),
        page=page,
        page_count=known.page_count if known else page,
        picture=picture,
        passage=tuple(find_on_page(path, page, hit.text, password=password)) if here else (),
        marked=tuple(_marked(path, page, hit, password)) if here else (),
        note=_note(path, known),
    )


def _opened(path: Path, page: int, passwords: Sequence[SecretStr]) -> tuple[bytes, str | None]:
    """The picture, and the password that opened the file."""
    problem: Exception | None = None
    for password in (None, *(secret.get_secret_value() for secret in passwords)):
        try:
            return page_picture(path, page, scale=SCALE, password=password), password
        except (IndexError, OSError, RuntimeError, PasswordNeededError) as error:
            problem = error
    fix = "Ingest it again if it has changed, or look at extraction.passwords."
    raise PageError(str(problem) or "it needs a password", where=f"{path}, page {page}", fix=fix) from problem


def _marked(path: Path, page: int, hit: Hit, password: str | None) -> Iterator[Rectangle]:
    for start, end in hit.marks:
        yield from find_on_page(path, page, hit.text[start:end], password=password)


def _note(path: Path, known: Document | None) -> str:
    """A word of warning where the file is not what was read."""
    status = path.stat()
    if known is not None and known.path == str(path) and known.size != status.st_size:
        return "The file has changed since it was read: the passage may stand elsewhere. Ingest it again."
    return ""
