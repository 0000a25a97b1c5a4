"""Right and wrong hits, kept as the questions that an evaluation asks: JSON lines, one for each question.

{"query": "…", "relevant": [{"document": "NAME.pdf", "page": 26}], "wrong": [{"document": "NAME.pdf", "page": 3}]}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from kb.errors import QueryError
from kb.types import Hit

__all__ = ["Judgement", "Judgements"]

Judgement = Literal["relevant", "wrong"]


class Judgements:
    """A file of questions. Several people may mark at the same time; lines and keys of others are kept."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def of(self, query: str, hit: Hit) -> Judgement | None:
        """How a hit was marked."""
        line = next((line for line in self._read() if line.get("query") == query), {})
        for judgement in ("relevant", "wrong"):
            if _place(hit) in line.get(judgement, []):
                return judgement
        return None

    @property
    def has_right_ones(self) -> bool:
        """Whether any hit was marked right: wrong ones alone are no questions."""
        return any(line.get("relevant") for line in self._read())

    def mark(self, query: str, hit: Hit, judgement: Judgement | None) -> None:
        """Keeps whether a hit answers a question; None takes the mark back. Raises QueryError for a broken file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.file}.lock"):
            lines = self._read()
            line = next((line for line in lines if line.get("query") == query), None)
            if line is None:
                line = {"query": query, "relevant": []}
                lines.append(line)
            for key in ("relevant", "wrong"):
                line[key] = [place for place in line.get(key, []) if place != _place(hit)]
            if judgement is not None:
                line[judgement].append(_place(hit))
            if not line["wrong"]:
                del line["wrong"]
            self._write([line for line in lines if line.get("relevant") or line.get("wrong")])

    def _read(self) -> list[dict[str, Any]]:
        if not self.file.is_file():
            return []
        lines: list[dict[str, Any]] = []
        for number, text in enumerate(self.file.read_text("utf-8").splitlines(), start=1):
            if not text.strip():
                continue
            try:
                lines.append(dict(json.loads(text)))
            except (ValueError, TypeError):
                fix = "Mend or remove that line."
                raise QueryError("not a JSON object", where=f"{self.file}, line {number}", fix=fix) from None
        return lines

    def _write(self, lines: list[dict[str, Any]]) -> None:
        """In one step: a kill leaves the old file or the new one."""
        new = self.file.with_name(f"{self.file.name}.new")
        new.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
        new.replace(self.file)


def _place(hit: Hit) -> dict[str, Any]:
    return {"document": hit.document.rsplit("/", 1)[-1], "page": hit.page}
