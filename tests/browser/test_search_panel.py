"""The search panel, click by click and key by key: marks, more like this, citations, exports, filters, pages."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import RUN_MS, Notebook
from playwright.sync_api import Browser, Locator, expect

from kb import KnowledgeBase

pytestmark = pytest.mark.timeout(240)

expect.set_options(timeout=RUN_MS)

MARGIN = "why did the operating margin fall?"


@pytest.fixture(scope="module")
def config(home: Path) -> Path:
    """A collection of two documents."""
    file = home / "config" / "pdf_knowledge.json"
    with KnowledgeBase.open(file) as knowledge_base:
        knowledge_base.ingest(home / "papers")
    return file


@pytest.fixture(scope="module")
def opened(browser: Browser, lab: str, pictures: Path, config: Path) -> Iterator[Notebook]:
    assert config.is_file()
    notebook = Notebook(browser, lab, "search", pictures=pictures)
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    notebook.run_all()
    yield notebook
    notebook.close()


@pytest.fixture
def search(opened: Notebook) -> Notebook:
    """The panel with the answers to a question."""
    ask(opened, "who dances?")
    ask(opened, MARGIN)
    return opened


def ask(notebook: Notebook, question: str) -> None:
    box = notebook.panel.locator("input[type=text]").first
    box.fill(question)
    box.press("Enter")
    expect(notebook.panel.get_by_role("status").first).to_contain_text(f"for “{question}”")


def card(notebook: Notebook, citation: str) -> Locator:
    return notebook.panel.locator(".pdfkb-card").filter(has_text=citation).first


def test_marks_right_and_wrong_are_kept_as_a_question_that_an_evaluation_asks(search: Notebook, config: Path) -> None:
    card(search, "annual.pdf, page 2").get_by_role("button", name="Right").click()
    expect(search.panel).to_contain_text("default.questions.jsonl")
    card(search, "bees.pdf").get_by_role("button", name="Wrong").click()
    with KnowledgeBase.open(config) as knowledge_base:
        file = knowledge_base.judgements().file
        expect(card(search, "bees.pdf").get_by_role("button", name="Wrong")).to_have_class(re.compile("mod-active"))
        deadline = time.monotonic() + RUN_MS / 1000
        while '"wrong"' not in file.read_text("utf-8") and time.monotonic() < deadline:
            search.page.wait_for_timeout(50)  # the browser shows a click before the kernel has heard of it
        [line] = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        assert line == {
            "query": MARGIN,
            "relevant": [{"document": "annual.pdf", "page": 2}],
            "wrong": [{"document": "bees.pdf", "page": 1}],
        }
        assert knowledge_base.evaluate(file).modes[0].page["recall@5"].mean == 1.0


def test_more_like_this_shows_what_a_passage_resembles(search: Notebook) -> None:
    card(search, "annual.pdf, page 2").get_by_role("button", name="More like this").click()
    expect(search.panel.get_by_role("status").first).to_contain_text("like annual.pdf, page 2")
    expect(search.panel.locator(".pdfkb-card").first).not_to_contain_text("annual.pdf, page 2")


def test_a_citation_is_copied(search: Notebook) -> None:
    copied = card(search, "annual.pdf, page 2").get_by_role("button", name="Copy citation")
    copied.click()
    expect(card(search, "annual.pdf, page 2")).to_contain_text("Copied")
    assert search.page.evaluate("navigator.clipboard.readText()") == "annual.pdf, page 2"


def test_hits_are_saved_as_a_table_and_as_references(search: Notebook) -> None:
    saved = {}
    for link in ("Save CSV", "Save BibTeX"):
        with search.page.expect_download() as download:
            search.panel.get_by_role("link", name=link).click()
        saved[download.value.suggested_filename] = Path(download.value.path()).read_text("utf-8")
    rows = list(csv.DictReader(saved["hits.csv"].splitlines()))
    assert "annual.pdf, page 2" in rows[0].values()
    assert "title = {On bees}" in saved["hits.bib"]
    assert "pages = {1, 2, 3}" in saved["hits.bib"]


def test_pages_are_turned_both_ways_and_back_to_the_passage(search: Notebook) -> None:
    card(search, "annual.pdf, page 2").get_by_role("button", name="annual.pdf, page 2").click()
    for button, place in (("Previous page", "1"), ("Next page", "2"), ("Next page", "3"), ("The passage's page", "2")):
        search.button(button).first.click()
        expect(search.panel).to_contain_text(f"annual.pdf, page {place} of 3")
    expect(search.button("The passage's page").first).to_be_disabled()


def test_lists_and_filters_narrow_it_down(search: Notebook) -> None:
    search.button("Narrow down").click()
    search.panel.locator("select").first.select_option("text")
    expect(search.panel.locator(".pdfkb-card").filter(has_text="bees.pdf")).to_have_count(0)
    search.panel.locator("select").first.select_option("hybrid")
    only = search.panel.get_by_placeholder("report.pdf or *-2022-*")
    only.fill("bees*")
    only.press("Enter")
    expect(search.panel.locator(".pdfkb-card:visible").first).to_contain_text("bees.pdf")
    expect(search.panel.locator(".pdfkb-card:visible").filter(has_text="annual.pdf")).to_have_count(0)
    search.picture("narrowed")
    only.fill("")
    only.press("Enter")
    expect(search.panel.locator(".pdfkb-card:visible").first).to_contain_text("annual.pdf")
    search.button("Narrow down").click()


FOCUSED = """() => {
    const held = document.activeElement;
    return (held.placeholder || held.innerText || held.title || held.tagName).trim();
}"""


def test_the_keyboard_reaches_everything_in_the_order_it_is_read(search: Notebook) -> None:
    search.panel.locator("input[type=text]").first.focus()
    reached = []
    for _ in range(9):
        reached.append(search.page.evaluate(FOCUSED))
        search.page.keyboard.press("Tab")
    assert reached[0].startswith("Ask your documents")
    assert reached[1:5] == ["Search", "Narrow down", "Save CSV", "Save BibTeX"]
    assert reached[5].startswith("1. annual.pdf, page 2")
    assert reached[6:9] == ["More like this", "Right", "Wrong"]
    card(search, "annual.pdf, page 2").get_by_role("button", name="annual.pdf, page 2").focus()
    search.page.keyboard.press("Enter")
    expect(search.panel.locator(".sheet img").first).to_be_visible()
    search.page.keyboard.press("Enter")
    expect(search.panel.locator(".sheet img:visible")).to_have_count(0)
