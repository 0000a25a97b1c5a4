"""What is wrong with a configuration, said so that a person can mend it: where it was written, and what is allowed."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr, ValidationError

from kb.errors import ConfigurationError

__all__ = ["Sources", "known_keys", "problems_of", "secretless_url", "unknown_environment_keys"]

Origin = Literal["argument", "environment", "file"]


@dataclass(frozen=True)
class Sources:
    """Where each setting was written, to name it in a message."""

    file: Path | None
    data: Mapping[str, Any]
    arguments: Mapping[str, Any]
    prefix: str

    def origin(self, place: tuple[str, ...]) -> Origin:
        """The strongest source that holds the key."""
        if _holds(self.arguments, place):
            return "argument"
        if any(name.upper().startswith(self.variable(place)) for name in os.environ):
            return "environment"
        return "file"

    def variable(self, place: tuple[str, ...]) -> str:
        """The environment variable of a key."""
        return self.prefix + "__".join(place).upper()

    def describe(self, place: tuple[str, ...]) -> str:
        """Source and key, for the message."""
        key = ".".join(place)
        match self.origin(place):
            case "argument":
                return f"argument {key}"
            case "environment":
                return f"environment variable {self.variable(place)}"
            case _:
                return f"{self.file}, {key}"


def _holds(data: Any, place: tuple[str, ...]) -> bool:
    for key in place:
        if not isinstance(data, Mapping) or key not in data:
            return False
        data = data[key]
    return True


def secretless_url(url: str) -> str:
    """A base URL without a trailing slash. Raises ValueError, which never repeats a password in it."""
    parts = urlsplit(url.strip())
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or password; put an Authorization into embedder.headers")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL such as http://your-gpu-cluster:8000/v1")
    return url.strip().rstrip("/")


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of the settings model."""
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")


def nearest_key(key: str, model: type[BaseModel]) -> str:
    """The known dotted key that `key` most likely means: the same name elsewhere, else the most similar spelling."""
    *parents, leaf = key.split(".")
    section = ".".join(parents)

    def likeness(known: str) -> float:
        known_section, _, known_leaf = known.rpartition(".")
        spelling = difflib.SequenceMatcher(None, leaf.lower(), known_leaf.lower()).ratio()
        contained = 0.3 if leaf.lower() in known_leaf or known_leaf in leaf.lower() else 0.0
        return spelling + contained + (0.5 if known_section == section else 0.0)

    return max(known_keys(model), key=likeness)


def unknown_environment_keys(model: type[BaseModel], sources: Sources) -> None:
    """Raises ConfigurationError for a variable with our prefix that names no key (pydantic-settings ignores it)."""
    known = set(known_keys(model))
    for name in sorted(os.environ):
        if not name.upper().startswith(sources.prefix):
            continue
        key = name[len(sources.prefix) :].lower().replace("__", ".")
        if key not in known and not key.startswith("embedder.headers."):
            nearest = nearest_key(key, model)
            variable = sources.variable(tuple(nearest.split(".")))
            raise ConfigurationError(
                "unknown key", where=f"environment variable {name}", fix=f"Did you mean {variable}?"
            )


def problems_of(error: ValidationError, model: type[BaseModel], sources: Sources) -> dict[str, str]:
    """The first problem that pydantic found as `what`, `where` and `fix`; a count of the others."""
    problems = error.errors(include_url=False)
    first = problems[0]
    place = _known_place(first["loc"], model)
    others = len({_known_place(problem["loc"], model) for problem in problems}) - 1
    more = f" ({others} more such problem{'s' * (others > 1)})" if others else ""
    if first["type"] == "extra_forbidden":
        nearest = nearest_key(".".join(place), model)
        return {"what": "unknown key" + more, "where": sources.describe(place), "fix": f"Did you mean {nearest}?"}
    hidden = _is_secret(place, model) or isinstance(first["input"], Mapping | list)
    shown = "" if hidden else f"{_short(first['input'])}: "
    allowed = first["msg"].removeprefix("Value error, ").rstrip(".")
    fix = _description(place, model)
    return {"what": shown + allowed + more, "where": sources.describe(place), "fix": fix}


def _known_place(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[str, ...]:
    """pydantic's location without the branches of unions, which are no keys of the file."""
    return tuple(str(part) for part in loc if not str(part).startswith(("function-", "tuple[", "str", "constrained")))


def _field(place: tuple[str, ...], model: type[BaseModel]) -> Any:
    found: Any = None
    for key in place:
        found = model.model_fields.get(key)
        if found is None:
            return None
        if isinstance(found.annotation, type) and issubclass(found.annotation, BaseModel):
            model = found.annotation
        else:
            return found
    return found


def _is_secret(place: tuple[str, ...], model: type[BaseModel]) -> bool:
    field = _field(place, model)
    return field is None or SecretStr.__name__ in str(field.annotation) or place[-1].startswith("base_url")


def _description(place: tuple[str, ...], model: type[BaseModel]) -> str:
    field = _field(place, model)
    return f"It means: {field.description}." if field is not None and field.description else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
