"""The settings as a Markdown table, for the README: `python -m kb.config_docs`; a test holds the two together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from kb.config import Settings

__all__ = ["settings_table"]


def settings_table() -> str:
    """One row for each key: what it means, what it may be, and its default."""
    rows = ["| key | meaning | default |", "| --- | --- | --- |"]
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        rows += list(_rows(section, model))
    return "\n".join(rows)


def _rows(section: str, model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        choices = re.findall(r"'([\w-]+)'", str(field.annotation)) if "Literal" in str(field.annotation) else []
        meaning = (field.description or "").replace("|", "\\|")
        allowed = f" (`{'`, `'.join(choices)}`)" if len(choices) > 1 else ""
        default = field.get_default(call_default_factory=True)
        yield f"| `{section}.{name}` | {meaning}{allowed} | {_shown(default)} |"


def _shown(default: Any) -> str:
    if default is None or default is PydanticUndefined or default in ("", (), {}) or isinstance(default, SecretStr):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    print(settings_table())
