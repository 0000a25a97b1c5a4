"""Pages become chunks: passages of one section, cut at paragraphs and sentences, sized in tokens of the model."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from semantic_text_splitter import TextSplitter

from kb.config import ChunkingSettings, EmbedderSettings, ExtractionSettings
from kb.counting import WordCounter, splits_at_spaces
from kb.types import Chunk, ExtractedDocument, Page

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Chunker", "TokenCounter", "chunk_id_of", "recipe_of"]

# Raise it when the same settings would give other chunks than before: every document is then done anew.
PIPELINE_VERSION = 4

# Titles and sections may take this share of what the endpoint accepts; the passage itself is what matters.
CONTEXT_SHARE = 0.25
# Two texts joined can have a token or two more than both together, at the seam.
SEAM_TOKENS = 2
# By so many tokens, and more, the same text may differ cut out and within the whole.
BORDER_TOKENS = 6
# Characters. A heading by itself answers nothing, and would stand above the passage that does.
LEAST_SECTION = 80
SECTION_SEPARATOR = " > "


class TokenCounter(Protocol):
    """Counts tokens as the endpoint does."""

    @property
    def max_tokens(self) -> int:
        """Most tokens the endpoint takes in one text, special tokens included."""

    @property
    def huggingface(self) -> Tokenizer | None:
        """The tokenizer itself, where it is at hand."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of one page's text, before it has an identity."""

    page: Page
    section: tuple[str, ...]
    text: str
    tokens: int  # of all that is embedded of it


class Chunker:
    """Cuts documents for one endpoint. Thread-safe; the work is done in Rust without the GIL."""

    def __init__(self, settings: ChunkingSettings, counter: TokenCounter, *, prefix: str = "") -> None:
        self._settings = settings
        self._counter = counter
        self._prefix = prefix
        self._special_tokens = counter.count([""])[0]
        tokenizer = counter.huggingface
        self._words = WordCounter(tokenizer) if tokenizer and splits_at_spaces(tokenizer) else None

    def chunk(self, document: ExtractedDocument, *, doc_id: str, recipe: str) -> list[Chunk]:
        """Chunks in reading order. A chunk never crosses a page or a section: its citation is one page, exactly."""
        title = document.metadata.title
        chunks: list[Chunk] = []
        for passage in self._passages(document, title):
            position = len(chunks)
            chunks.append(
                Chunk(
                    chunk_id=chunk_id_of(doc_id, recipe, position),
                    doc_id=doc_id,
                    position=position,
                    text=passage.text,
                    page=passage.page.number,
                    last_page=passage.page.number,
                    page_label=passage.page.label,
                    section=passage.section,
                    tokens=passage.tokens,
                )
            )
        return chunks

    def texts_to_embed(self, chunks: Sequence[Chunk], title: str) -> list[str]:
        """What goes to the endpoint for each chunk: prefix, title and section, passage; within the maximum length."""
        contexts = {section: self._context(title, section) for section in {chunk.section for chunk in chunks}}
        return [self._prefix + contexts[chunk.section] + chunk.text for chunk in chunks]

    def _passages(self, document: ExtractedDocument, title: str) -> Iterator[Passage]:
        contexts: dict[tuple[str, ...], int] = {}
        for page in document.pages:
            for section, text in _sections(page):
                if section not in contexts:
                    contexts[section] = self._count(self._prefix + self._context(title, section))
                for piece, tokens in self._split(text, self._capacity(contexts[section])):
                    yield Passage(page, section, piece, contexts[section] + tokens)

    def _capacity(self, context_tokens: int) -> int:
        """Tokens left for the passage: the chunk size, or less where context and maximum length leave less."""
        left = self._counter.max_tokens - context_tokens - SEAM_TOKENS
        return max(1, min(self._settings.max_tokens - self._special_tokens, left))

    def _context(self, title: str, section: tuple[str, ...]) -> str:
        """Title and section as they are put before a passage, the outer sections dropped first where it is too long."""
        if not self._settings.context:
            return ""
        room = int(self._counter.max_tokens * CONTEXT_SHARE)
        for start in range(len(section) + 1):
            lines = [line for line in (title, SECTION_SEPARATOR.join(section[start:])) if line]
            context = "\n".join(lines) + "\n" if lines else ""
            if self._count(self._prefix + context) <= room:
                return context
        return ""

    def _count(self, text: str) -> int:
        """Tokens of a text, special ones included."""
        measured = self._words.measure(text) if self._words else None
        return self._special_tokens + measured.tokens if measured else self._counter.count([text])[0]

    def _split(self, text: str, capacity: int) -> list[tuple[str, int]]:
        """Pieces with their tokens, special ones not counted."""
        tokenizer = self._counter.huggingface
        if tokenizer is None:
            return self._split_by_counting(text, capacity)
        overlap = min(self._settings.overlap, capacity - 1)
        measured = self._words.measure(text) if self._words else None
        count = measured.count if measured else _counting(text, tokenizer)
        pieces = TextSplitter.from_callback(count, capacity, overlap=overlap).chunks(text)
        counts = list(map(count, pieces))
        if measured:
            return list(zip(pieces, counts, strict=True))
        close = [piece for piece, tokens in zip(pieces, counts, strict=True) if tokens > capacity - BORDER_TOKENS]
        if not close or all(tokens <= capacity + self._special_tokens for tokens in self._counter.count(close)):
            return list(zip(pieces, counts, strict=True))
        pieces = TextSplitter.from_huggingface_tokenizer(tokenizer, capacity, overlap=overlap).chunks(text)
        return [(piece, min(capacity, count(piece))) for piece in pieces]

    def _split_by_counting(self, text: str, capacity: int) -> list[tuple[str, int]]:
        """Without the tokenizer at hand: cut by characters at the text's own rate, then halve what is too long."""
        if not text.strip():
            return []
        limit = capacity + self._special_tokens
        rate = max(1.0, len(text) / max(1, self._counter.count([text])[0] - self._special_tokens))
        overlap = int(self._settings.overlap * rate)
        pieces = _cut_until(text, int(capacity * rate), overlap, self._counter.count, limit)
        return [(piece, tokens - self._special_tokens) for piece, tokens in pieces]


def _counting(text: str, tokenizer: Tokenizer) -> Callable[[str], int]:
    """Counts the tokens of a part of the text by where the tokens of the whole lie.

    For tokenizers whose words depend on their neighbours, and text without spaces. The splitter measures each part
    some ten times over; tokenizing it each time took twice as long as reading the PDF.
    A tokenizer that looks over the borders of words can differ by a token, so what comes close to the limit is
    counted once more.
    """
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]

    def count(part: str) -> int:
        start = text.find(part)  # wherever else it stands, it has as many tokens there
        return bisect_left(starts, start + len(part)) - bisect_right(ends, start)

    return count


def _cut_until(
    text: str, characters: int, overlap: int, count: Callable[[Sequence[str]], list[int]], limit: int
) -> list[tuple[str, int]]:
    characters = max(1, characters)
    pieces = TextSplitter(characters, overlap=min(overlap, characters - 1)).chunks(text)
    fitting: list[tuple[str, int]] = []
    for piece, tokens in zip(pieces, count(pieces) if pieces else [], strict=True):
        if tokens <= limit or characters == 1:
            fitting.append((piece, tokens))
        else:
            fitting += _cut_until(piece, min(characters, len(piece)) // 2, overlap // 2, count, limit)
    return fitting


def _sections(page: Page) -> Iterator[tuple[tuple[str, ...], str]]:
    """The page's text cut where sections start; one with hardly more than its heading goes on into the next."""
    waiting = ""
    path: tuple[str, ...] = ()
    for path, text in _sections_as_marked(page):
        waiting += text
        if len(waiting.strip()) >= LEAST_SECTION:
            yield path, waiting
            waiting = ""
    if waiting.strip():
        yield path, waiting


def _sections_as_marked(page: Page) -> Iterator[tuple[tuple[str, ...], str]]:
    starts = [(section.offset, section.path) for section in page.sections] or [(0, ())]
    if starts[0][0] > 0:
        starts.insert(0, (0, ()))
    ends = [offset for offset, _ in starts[1:]] + [len(page.text)]
    for (start, path), end in zip(starts, ends, strict=True):
        if page.text[start:end].strip():
            yield path, page.text[start:end]


def chunk_id_of(doc_id: str, recipe: str, position: int) -> str:
    """What a chunk is known by: its document's content, how that was cut, and its place in it."""
    return hashlib.sha256(f"{doc_id}:{recipe}:{position}".encode()).hexdigest()[:32]


def recipe_of(
    extraction: ExtractionSettings, chunking: ChunkingSettings, embedder: EmbedderSettings, max_tokens: int
) -> str:
    """Fingerprint of everything that decides a document's chunks and what is embedded of them."""
    parts = {
        "version": PIPELINE_VERSION,
        "engine": extraction.engine,
        "ocr": extraction.ocr,
        "ocr_languages": extraction.ocr_languages if extraction.ocr != "off" else "",
        "chunking": chunking.model_dump(),
        "prefix": embedder.document_prefix,
        "dimensions": embedder.dimensions,
        "max_tokens": max_tokens,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
