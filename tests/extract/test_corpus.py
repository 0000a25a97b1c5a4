"""The corpus of real PDFs beside the checkout: every outcome, every phrase on its page, and the reference texts."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kb.config import ExtractionSettings
from kb.extract import ExtractionPool
from kb.types import DocumentStatus, ExtractedDocument

pytestmark = pytest.mark.shared

MANIFEST = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "manifest.json"
FILES: list[dict[str, Any]] = json.loads(MANIFEST.read_text())["files"] if MANIFEST.is_file() else []
OUTCOMES = {
    "text": {DocumentStatus.INDEXED},
    "form": {DocumentStatus.INDEXED},
    "empty-scan": {DocumentStatus.NO_TEXT},
    "empty": {DocumentStatus.NO_TEXT, DocumentStatus.EMPTY},
    "zero-page": {DocumentStatus.EMPTY},
    "encrypted": {DocumentStatus.ENCRYPTED},
    "corrupt": {DocumentStatus.CORRUPT},
}
RECOVERED = {DocumentStatus.INDEXED, DocumentStatus.PARTIAL}

Documents = dict[str, ExtractedDocument]


def by_file(files: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("entry", files, ids=lambda entry: entry["file"])


@pytest.fixture(scope="module")
def documents(shared: Path) -> Iterator[Documents]:
    """All files of the corpus, read by the pool as an ingest would."""
    with ExtractionPool(ExtractionSettings(workers=2)) as pool:
        futures = {entry["file"]: pool.submit(shared / "corpus" / entry["file"]) for entry in FILES}
        yield {file: future.result() for file, future in futures.items()}


@pytest.fixture(scope="module")
def opened(shared: Path) -> Iterator[Documents]:
    """The encrypted files, read with their passwords in the configuration."""
    passwords = tuple(entry["password"] for entry in FILES if "password" in entry)
    with ExtractionPool(ExtractionSettings(workers=1, passwords=("wrong", *passwords))) as pool:
        futures = {e["file"]: pool.submit(shared / "corpus" / e["file"]) for e in FILES if "password" in e}
        yield {file: future.result() for file, future in futures.items()}


def test_the_corpus_is_there(shared: Path) -> None:
    assert len(FILES) == 49, shared


@by_file(FILES)
def test_each_file_ends_as_expected(documents: Documents, entry: dict[str, Any]) -> None:
    document = documents[entry["file"]]
    expected = OUTCOMES[entry["expected"]]
    if entry["expected"] == "corrupt" and any(engine.get("chars") for engine in entry["engines"].values()):
        expected = RECOVERED  # damaged, but its text can be had: better than giving the file up, if it is said
        assert document.reason
    assert document.status in expected, document.reason
    assert document.reason or document.status is DocumentStatus.INDEXED


@by_file([entry for entry in FILES if entry.get("phrases")])
def test_each_phrase_is_on_its_page(documents: Documents, opened: Documents, entry: dict[str, Any]) -> None:
    document = opened.get(entry["file"]) or documents[entry["file"]]
    for phrase in entry["phrases"]:
        text = document.pages[phrase["page"] - 1].text
        assert compared(phrase["text"], phrase["match"]) in compared(text, phrase["match"])


@by_file([entry for entry in FILES if entry.get("reference", "").startswith("ordinary/debmake-doc")])
def test_word_recall_against_the_publishers_text_is_98_percent(
    documents: Documents, shared: Path, entry: dict[str, Any]
) -> None:
    reference = (shared / "corpus" / entry["reference"]).read_text(encoding="utf-8")
    text = "\n".join(page.text for page in documents[entry["file"]].pages)
    recall = trigram_recall if ".zh-cn" in entry["file"] else word_recall
    assert recall(text, reference) >= 0.98


@by_file([entry for entry in FILES if "reading_order" in entry])
def test_columns_are_read_in_order(documents: Documents, entry: dict[str, Any]) -> None:
    for order in entry["reading_order"]:
        text = " ".join(documents[entry["file"]].pages[order["page"] - 1].text.split())
        positions = [text.index(passage) for passage in order["texts"]]
        assert positions == sorted(positions)


def test_no_text_breaks_utf8_or_holds_controls(documents: Documents) -> None:
    for document in documents.values():
        for page in document.pages:
            page.text.encode("utf-8")
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\ufffe\uffff]", page.text)


def test_sections_start_within_their_page_in_ascending_order(documents: Documents) -> None:
    for document in documents.values():
        for page in document.pages:
            offsets = [section.offset for section in page.sections]
            assert offsets == sorted(set(offsets))
            assert all(0 <= offset <= len(page.text) for offset in offsets)


def test_a_form_gives_the_text_of_its_fields(documents: Documents) -> None:
    text = documents["structure/AcroFormsRotation.pdf"].pages[0].text
    assert "Lorem ipsum dolor sit amet" in " ".join(text.split())


def test_page_labels_are_those_of_the_file(documents: Documents) -> None:
    labels = [page.label for page in documents["structure/11-pages-with-labels.pdf"].pages]
    assert labels != [str(number) for number in range(1, 12)]


def test_rows_of_a_table_stay_rows(documents: Documents, shared: Path) -> None:
    text = documents["ordinary/us-020.pdf"].pages[3].text
    assert "Australia 290 284 275 5 280 6,709 6,126" in text.splitlines()


def compared(text: str, match: str) -> str:
    """`text` as the manifest says that its phrases are matched."""
    text = unicodedata.normalize("NFKC", text)
    if match.endswith("all whitespace removed"):
        return "".join(text.split())
    return " ".join(re.sub(r"(\w)[-‐]\n\s*(\w)", r"\1\2", text).split())


def words_of(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", compared(text, "de-hyphenated").lower()))


def word_recall(text: str, reference: str) -> float:
    """The share of the reference's words that the text has, each counted as often as it occurs."""
    wanted = words_of(reference)
    return (wanted & words_of(text)).total() / wanted.total()


def trigram_recall(text: str, reference: str) -> float:
    wanted, found = trigrams(reference), trigrams(text)
    return (wanted & found).total() / wanted.total()


def trigrams(text: str) -> Counter[str]:
    letters = "".join(re.findall(r"\w", unicodedata.normalize("NFKC", text).lower()))
    return Counter(letters[index : index + 3] for index in range(len(letters) - 2))
