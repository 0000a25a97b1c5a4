"""Readable in light and in dark: every text of every panel stands out from what is behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import QUIET, RUN_MS, Notebook, serving
from playwright.sync_api import Browser, expect

from kb import KnowledgeBase

expect.set_options(timeout=RUN_MS)

# WCAG 2.1, success criterion 1.4.3.
LEAST_CONTRAST = 4.5
FAINT = """least => {
    // What color-mix gives is told as color(srgb …), from 0 to 1.
    const numbers = colour => (colour.match(/[\\d.]+/g) || [])
        .map((v, i) => colour.startsWith('color(') && i < 3 ? v * 255 : Number(v));
    const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = numbers(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] > 0.5) return colour;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const element of document.querySelectorAll('.pdfkb-panel .pdfkb *')) {
        const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.offsetParent || ['STYLE', 'BUTTON'].includes(element.tagName)) continue;
        const [a, b] = [luminance(numbers(getComputedStyle(element).color)), luminance(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < least) faint.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className}: `
            + element.textContent.trim().slice(0, 40));
    }
    return faint;
}"""
WIDER = (
    """() => [...document.querySelectorAll('.pdfkb-panel')].some(panel => panel.scrollWidth > panel.clientWidth + 1)"""
)


@pytest.fixture(scope="module")
def collection(home: Path) -> Path:
    """The folder of a person, its PDFs ingested; one of them is none."""
    (home / "papers" / "broken.pdf").write_text("no PDF")
    with KnowledgeBase.open(home / "config" / "pdf_knowledge.json") as knowledge_base:
        knowledge_base.ingest(home / "papers")
    return home


@pytest.fixture(scope="module")
def exposed(home: Path) -> Iterator[str]:
    """The URL of a JupyterLab whose theme can be changed from outside."""
    with serving(home, "jupyterlab", *QUIET, "--LabApp.expose_app_in_browser=True") as url:
        yield url


@pytest.mark.parametrize("name", ["setup", "ingest", "search", "troubleshooting", "maintenance"])
def test_a_panel_is_readable_in_light_and_in_dark(
    name: str, browser: Browser, collection: Path, exposed: str, pictures: Path
) -> None:
    notebook = Notebook(browser, exposed, name, pictures=pictures, height=1500)
    notebook.run_all()
    fill(notebook, collection)
    poor: dict[str, list[str]] = {}
    for theme in ("Light", "Dark"):
        notebook.put_on(theme)
        notebook.picture("theme")
        poor[theme] = [*notebook.page.evaluate(FAINT, LEAST_CONTRAST), *["wider"] * notebook.page.evaluate(WIDER)]
    notebook.close()
    assert poor == {"Light": [], "Dark": []}


def fill(notebook: Notebook, home: Path) -> None:
    """Brings something to look at into the panel."""
    panel = notebook.panel
    match notebook.name:
        case "setup":
            notebook.button("Test the endpoint").click()
            expect(notebook.button("Test the endpoint")).to_be_enabled()
        case "ingest":
            (home / "papers" / "broken.pdf").write_text("no PDF either")
            panel.locator("textarea").first.fill(str(home / "papers"))
            panel.locator("textarea").first.press("Tab")
            notebook.button("Ingest").click()
            expect(panel).to_contain_text("1 failed")
        case "search":
            panel.locator("input[type=text]").first.fill("why did the operating margin fall?")
            panel.locator("input[type=text]").first.press("Enter")
            panel.locator(".pdfkb-title").first.click()
            expect(panel.locator(".sheet img").first).to_be_visible()
        case "troubleshooting":
            panel.locator("input[type=text]").first.fill("why did the operating margin fall?")
            panel.locator("input[type=text]").nth(1).fill("annual.pdf")
            notebook.button("Explain").click()
            expect(panel).to_contain_text("annual.pdf was read: 3 pages")
            expect(panel.locator(".warn").first).to_be_visible()
        case "maintenance":
            expect(panel.locator("svg").first).to_be_visible()
