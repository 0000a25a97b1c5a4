"""On which line of a configuration file a key is written."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["line_of"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


def line_of(key: str, file: Path) -> int | None:
    """The line, from 1, of a dotted key ("embedder.base_url") under whatever parent; None where it is not there."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    wanted = key.split(".")
    path: list[str] = []  # the keys of the objects around
    name, previous = "", None
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[":
                path.append(name)
                name = ""
            case "}" | "]":
                path = path[:-1]
            case ":" if previous is not None:
                name = previous[0][1:-1]
                if [*path, name][-len(wanted) :] == wanted:
                    return text.count("\n", 0, previous.start()) + 1
        previous = token
    return None
