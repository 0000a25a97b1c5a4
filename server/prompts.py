"""Which of a model's prompts goes before the texts of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.errors import bad_request

__all__ = ["AskedPrompt", "Prompts"]

# What clients call the two sides of a search, and the names under which models keep the prompts for them. The first
# that is not empty counts: sentence-transformers gives every model an empty "document", which in its encode_document
# hides the "passage" that the model's author wrote.
SIDES = {
    "query": ("query",),
    "search_query": ("query",),
    "document": ("document", "passage", "corpus"),
    "search_document": ("document", "passage", "corpus"),
    "passage": ("document", "passage", "corpus"),
}


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """What a request says of prompts; the most particular of the three counts."""

    input_type: str | None = None
    prompt_name: str | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Prompts:
    """A model's prompts by name, and the name of the one that texts get unless a request says otherwise."""

    texts: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None

    def before_ids(self, asked: AskedPrompt) -> None:
        """Raises RequestError where a prompt is asked for before token ids, which are taken as they are."""
        is_asked = asked != AskedPrompt()
        if is_asked and self.choose(asked):
            name = next(name for name in ("prompt", "prompt_name", "input_type") if getattr(asked, name) is not None)
            raise bad_request(f"Token ids are taken as they are: put those of the {name} before them.", parameter=name)

    def choose(self, asked: AskedPrompt) -> str:
        """The text to put before each input; empty for none. Raises RequestError for a name the model lacks."""
        if asked.prompt is not None:
            return asked.prompt
        if asked.prompt_name is not None:
            return self._named(asked.prompt_name, "prompt_name", list(self.texts))
        if asked.input_type is None:
            return self.texts.get(self.default, "") if self.default else ""
        names = SIDES.get(asked.input_type)
        if names is None:
            return self._named(asked.input_type, "input_type", [*SIDES, *self.texts])
        return next((self.texts[name] for name in names if self.texts.get(name)), "")

    def _named(self, name: str, parameter: str, known: list[str]) -> str:
        if name not in self.texts:
            listed = ", ".join(dict.fromkeys(known)) or "none"
            raise bad_request(f"{parameter} {name[:100]!r} is not known; there are: {listed}.", parameter=parameter)
        return self.texts[name]
