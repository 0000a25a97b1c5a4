"""What is known of an endpoint, and the file in which it is remembered from run to run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from kb.config import EmbedderSettings
from kb.embed.sender import Form
from kb.embed.space import EmbeddingSpace
from kb.embed.tokens import TokenCounter

__all__ = ["EndpointProfile", "Traits", "forget", "recall", "remember"]

# A server that was restarted with other limits is found out by its refusals too; this is for what they do not show.
REMEMBERED_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Traits:
    """What does not change while a server runs. `kind` names it ("vLLM"), "" where it is not known."""

    kind: str = ""
    takes_lists: bool = True
    base64: bool = True
    normalised: bool = True
    max_tokens: int = 0
    max_tokens_from: str = ""
    max_batch: int | None = None
    tokenize: str = ""  # which server's /tokenize it has: "TEI", "vLLM", "bundled server"
    probed_at: float = field(default_factory=time.time)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Traits as `asdict` gave them. Raises TypeError for those of another version."""
        return cls(**data)


@dataclass(frozen=True)
class EndpointProfile:
    """What an endpoint is and can do."""

    space: EmbeddingSpace
    tokenizer: TokenCounter
    traits: Traits

    @property
    def form(self) -> Form:
        """How it wants its requests."""
        return Form(self.traits.takes_lists, self.traits.base64, self.space.dimension)

    @property
    def kind(self) -> str:
        return self.traits.kind

    @property
    def takes_lists(self) -> bool:
        return self.traits.takes_lists

    @property
    def base64(self) -> bool:
        return self.traits.base64

    @property
    def normalised(self) -> bool:
        return self.traits.normalised

    @property
    def max_batch(self) -> int | None:
        return self.traits.max_batch


def recall(folder: Path | None, settings: EmbedderSettings) -> Traits | None:
    """The traits found out earlier, None where there are none, or they are too old or unreadable."""
    if folder is None:
        return None
    try:
        traits = Traits.from_dict(json.loads(_file(folder, settings).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return traits if 0 <= time.time() - traits.probed_at < REMEMBERED_SECONDS else None


def remember(folder: Path | None, settings: EmbedderSettings, traits: Traits) -> None:
    """Writes the traits down; that it fails (a read-only folder) costs only the next probe."""
    if folder is None:
        return
    file = _file(folder, settings)
    scratch = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(asdict(traits)), "utf-8")
        scratch.replace(file)
    except OSError:
        _drop(scratch)


def forget(folder: Path | None, settings: EmbedderSettings) -> None:
    """Drops what was remembered."""
    if folder is not None:
        _drop(_file(folder, settings))


def _drop(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()


def _file(folder: Path, settings: EmbedderSettings) -> Path:
    asked = json.dumps([settings.base_urls, settings.model, settings.dimensions, settings.max_tokens])
    return folder / f"endpoint-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
