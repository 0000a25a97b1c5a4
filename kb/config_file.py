"""Finding and reading a configuration file: the guide's JSON shapes, and `${VAR}`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kb.errors import ConfigurationError

__all__ = ["CONFIG_VARIABLE", "DEFAULT_FILE", "expand_variables", "find_file", "read_file", "write_sections"]

CONFIG_VARIABLE = "PDF_KNOWLEDGE_CONFIG"
DEFAULT_FILE = Path("config") / "pdf_knowledge.json"
PARENT_KEY = "pdf_knowledge"

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def find_file(path: str | os.PathLike[str] | None) -> Path | None:
    """The file to read, absolute; None for the defaults. Raises ConfigurationError if a named one is missing."""
    named = path if path is not None else os.environ.get(CONFIG_VARIABLE)
    if named is not None:
        file = Path(named).expanduser().absolute()
        if not file.is_file():
            raise ConfigurationError(
                "no such file" if not file.exists() else "not a file",
                where=str(file),
                fix="Give the path of a JSON file with --config, or copy one from config/examples/.",
            )
        return file
    here = Path.cwd()
    return next((folder / DEFAULT_FILE for folder in (here, *here.parents) if (folder / DEFAULT_FILE).is_file()), None)


def read_file(file: Path) -> dict[str, Any]:
    """The settings in a file, whatever shape they have. Raises ConfigurationError with line and column."""
    try:
        text = file.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"cannot be read: {reason}", where=str(file), fix="Mend the file.") from None
    # The guide prints its snippets as a fragment: "pdf_knowledge": {...}
    text = "{" + text.rstrip(",") + "}" if text.startswith('"') else text
    try:
        data = json.loads(text or "{}", object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"not valid JSON: {error.msg}",
            where=f"{file}, line {error.lineno}, column {error.colno}",
            fix="Mend the JSON there; a missing or an extra comma is the usual cause.",
        ) from None
    except ValueError as error:
        raise ConfigurationError(str(error), where=str(file), fix="Keep one of the two.") from None
    if not isinstance(data, dict):
        raise ConfigurationError("must be a JSON object", where=str(file), fix='Write {"embedder": {…}}.')
    return _without_parent(data, file)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {key!r} is there twice in one object")
    return dict(pairs)


def _without_parent(data: dict[str, Any], file: Path) -> dict[str, Any]:
    inner = data.pop(PARENT_KEY, {})
    if not isinstance(inner, dict):
        raise ConfigurationError("must be a JSON object", where=f"{file}, {PARENT_KEY}", fix="Write {…} there.")
    for section in inner.keys() & data.keys():
        raise ConfigurationError(
            "is both inside pdf_knowledge and beside it", where=f"{file}, {section}", fix="Keep one of the two."
        )
    return data | inner


def expand_variables(value: Any, file: Path, place: tuple[str, ...] = ()) -> Any:
    """`value` with every ${VAR} replaced. Raises ConfigurationError for a variable that is not set."""
    if isinstance(value, dict):
        return {key: expand_variables(item, file, (*place, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [expand_variables(item, file, (*place, str(index))) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"], match["default"])
        if found is None:
            raise ConfigurationError(
                f"the environment variable {match['name']} is not set",
                where=f"{file}, {'.'.join(place)}",
                fix=f"Set it (export {match['name']}=…) or write the value into the file.",
            )
        return found

    return _VARIABLE.sub(replace, value)


def write_sections(file: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes keys of sections into a file in one step; all its other settings stay. Raises ConfigurationError."""
    data = read_file(file) if file.is_file() else {}
    for section, values in changes.items():
        known = data.get(section)
        data[section] = {**(known if isinstance(known, dict) else {}), **values}
    text = json.dumps({"pdf_knowledge": data}, indent=2, ensure_ascii=False) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.new")
        new.write_text(text, "utf-8")
        new.replace(file)
    except OSError as error:
        fix = "Choose another file."
        raise ConfigurationError(f"cannot be written: {error.strerror}", where=str(file), fix=fix) from None
