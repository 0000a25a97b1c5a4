"""The whole story in JupyterLab, clicked through in Chromium: set up, ingest, stop, go on, ask, look at the page."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from lab import RUN_MS, Notebook, serving
from playwright.sync_api import Browser, expect

from kb import KnowledgeBase

pytestmark = pytest.mark.timeout(240)

expect.set_options(timeout=RUN_MS)


@pytest.mark.parametrize("opened", ["setup"], indirect=True)
def test_1_the_checks_turn_green_and_a_first_pdf_is_asked(opened: Notebook, endpoint: str, home: Path) -> None:
    opened.panel.get_by_role("textbox").nth(0).fill(endpoint)
    opened.button("Test the endpoint").click()
    expect(opened.button("Write the configuration")).to_be_enabled()
    expect(opened.panel).to_contain_text("384 numbers a vector")
    opened.picture("tested")
    opened.button("Write the configuration").click()
    expect(opened.button("Read it")).to_be_enabled()
    assert endpoint in (home / "config" / "pdf_knowledge.json").read_text("utf-8")
    sources = opened.panel.locator("textarea").first
    sources.fill(str(home / "papers" / "bees.pdf"))
    sources.press("Tab")
    opened.button("Read it").click()
    expect(opened.panel).to_contain_text("1 added")
    opened.button("Ask").click()
    expect(opened.panel).to_contain_text("Bees dance")
    opened.button("Ask").scroll_into_view_if_needed()
    opened.picture("answered")


@pytest.mark.parametrize("opened", ["ingest"], indirect=True)
def test_2_an_ingest_is_watched_stopped_and_gone_on_with(opened: Notebook, home: Path) -> None:
    sources = opened.panel.locator("textarea").first
    sources.fill(str(home / "papers"))
    sources.press("Tab")
    opened.button("What would change?").click()
    expect(opened.panel).to_contain_text("annual.pdf")
    opened.picture("preview")
    opened.button("Ingest").click()
    expect(opened.panel).to_contain_text(re.compile("[12] added"))
    sources.fill(str(home / "many"))
    sources.press("Tab")
    opened.button("Ingest").click()
    expect(opened.panel).to_contain_text(re.compile(r"[1-9][\d,]* passages embedded"))
    opened.button("Stop").click()
    opened.picture("running")
    expect(opened.panel).to_contain_text(re.compile("Stopped early", re.I))
    opened.picture("stopped")
    opened.button("Go on").click()
    expect(opened.panel).to_contain_text(re.compile(r"\d+ added, [1-9]\d* unchanged"))
    opened.picture("done")
    expect(opened.page.locator(".jp-RenderedJSON")).to_have_count(0)  # reports, not trees of data


@pytest.mark.parametrize("opened", ["search"], indirect=True)
def test_3_a_question_leads_to_the_page_with_the_passage_marked(opened: Notebook) -> None:
    question = opened.panel.locator("input[type=text]").first
    question.fill("why did the operating margin fall?")
    question.press("Enter")
    card = opened.panel.locator(".pdfkb-card").filter(has_text="annual.pdf, page 2").first
    expect(card).to_be_visible()
    expect(card.locator("mark").first).to_contain_text("Operating margin fell")
    expect(card).to_contain_text("<script>")
    opened.picture("hits")
    card.get_by_role("button", name=re.compile("annual.pdf, page 2")).click()
    expect(opened.panel.locator(".sheet img").first).to_be_visible()
    assert opened.panel.locator(".sheet .box").count() >= 1
    opened.page.wait_for_timeout(300)
    opened.picture("page")
    opened.button("Next page").first.click()
    expect(opened.panel).to_contain_text("page 3 of 3")
    card.get_by_role("button", name="Right").click()
    assert "taken over" not in opened.page.title()


@pytest.mark.parametrize("opened", ["troubleshooting"], indirect=True)
def test_4_a_missed_page_is_explained(opened: Notebook) -> None:
    inputs = opened.panel.locator("input[type=text]")
    inputs.nth(0).fill("why did the operating margin fall?")
    inputs.nth(1).fill("annual.pdf")
    opened.button("Explain").click()
    expect(opened.panel).to_contain_text("annual.pdf was read: 3 pages")
    expect(opened.panel).to_contain_text(re.compile(r"vector: rank 1 of \d+"))
    opened.picture("explained")


def test_5_voila_shows_the_search_as_a_web_page(browser: Browser, home: Path, pictures: Path) -> None:
    with KnowledgeBase.open(home / "config" / "pdf_knowledge.json") as knowledge_base:
        knowledge_base.ingest(home / "papers")
    with socket.socket() as free:  # it does not take port 0
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(home, "voila", f"--port={port}", str(home / "notebooks" / "search.ipynb")) as url:
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        page.goto(url)
        question = page.locator(".pdfkb-panel input[type=text]").first
        question.fill("who dances?")
        question.press("Enter")
        expect(page.locator(".pdfkb-card").first).to_contain_text("bees.pdf")
        page.screenshot(path=pictures / "voila.png")
        page.close()
