"""The other panels: what failed is retried, files are dropped in, red turns green, backups, sweeps, a closed tab."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import nbformat
import pytest
from lab import RUN_MS, Notebook
from making import make_pdf, write_config
from playwright.sync_api import Browser, expect

from kb import KnowledgeBase
from kb.bundled import bundled_server
from kb.report import Outcome

pytestmark = pytest.mark.timeout(240)

expect.set_options(timeout=RUN_MS)

SMALL_SWEEP = {
    "batch_sizes": "1, 8",
    "concurrencies": "1",
    "seconds": "0.2",
    "chunk_sizes": "64",
    "overlaps": "0",
    "count": "4",
}


@pytest.fixture
def config(home: Path) -> Path:
    return home / "config" / "pdf_knowledge.json"


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("opened", ["ingest"], indirect=True)
def test_what_failed_is_retried_once_it_is_mended(opened: Notebook, home: Path) -> None:
    broken = home / "mended" / "broken.pdf"
    broken.parent.mkdir()
    broken.write_text("no PDF")
    sources = opened.panel.locator("textarea").first
    sources.fill(str(broken.parent))
    sources.press("Tab")
    opened.button("Ingest").click()
    expect(opened.panel).to_contain_text("1 failed")
    expect(opened.panel).to_contain_text("not a PDF file")
    opened.picture("failed")
    make_pdf(broken, ["Mended by now."])
    opened.button("Retry failed").click()
    expect(opened.panel).to_contain_text("0 failed")
    expect(opened.button("Retry failed")).to_be_hidden()


@pytest.mark.parametrize("opened", ["ingest"], indirect=True)
def test_files_of_ones_own_computer_are_dropped_in(opened: Notebook, tmp_path: Path) -> None:
    own = make_pdf(tmp_path / "own.pdf", ["A paper from my own computer."])
    with opened.page.expect_file_chooser() as chooser:
        opened.button("Files from this computer").click()
    chooser.value.set_files(own)
    expect(opened.panel.locator("textarea").first).to_have_value(re.compile(r"\.uploads"))
    sources = opened.panel.locator("textarea").first
    sources.fill(sources.input_value().splitlines()[-1])
    sources.press("Tab")
    opened.button("Ingest").click()
    expect(opened.panel).to_contain_text("1 added")


def test_red_turns_green_once_the_endpoint_runs(
    browser: Browser, lab: str, pictures: Path, config: Path, free_port: int, endpoint: str
) -> None:
    write_config(config.parent, f"http://127.0.0.1:{free_port}/v1", retries=0).replace(config)
    try:
        notebook = Notebook(browser, lab, "troubleshooting", pictures=pictures)
        notebook.run_all()
        expect(notebook.panel).to_contain_text("nothing listens on the port")
        notebook.picture("red")
        with bundled_server("--port", str(free_port)):
            notebook.button("Try again").click()
            expect(notebook.panel).to_contain_text("384 numbers a vector")
            expect(notebook.panel).not_to_contain_text("nothing listens on the port")
            notebook.picture("green")
        notebook.close()
    finally:
        write_config(config.parent, endpoint).replace(config)


@pytest.mark.parametrize("opened", ["setup"], indirect=True)
def test_the_bundled_server_is_started_from_the_panel(opened: Notebook, free_port: int) -> None:
    opened.panel.get_by_role("textbox").nth(0).fill(f"http://127.0.0.1:{free_port}/v1")
    opened.button("Start it here").click()
    expect(opened.button("Running")).to_be_visible()
    expect(opened.button("Write the configuration")).to_be_enabled()
    expect(opened.panel).to_contain_text("384 numbers a vector")


@pytest.mark.parametrize("opened", ["maintenance"], indirect=True)
def test_the_state_is_shown_and_backed_up(opened: Notebook, config: Path, home: Path, tmp_path: Path) -> None:
    with KnowledgeBase.open(config) as knowledge_base:
        assert knowledge_base.ingest(home / "papers").count(Outcome.FAILED) == 0
    opened.button("Look again").click()
    expect(opened.panel.locator("svg").first).to_be_visible()
    folder = opened.panel.locator("input[type=text]").first
    folder.fill(str(tmp_path / "backups"))
    folder.press("Tab")
    opened.button("Back up").click()
    expect(opened.panel).to_contain_text(re.compile(r"Backed up \d+ documents"))
    assert len(list((tmp_path / "backups").iterdir())) == 1
    expect(opened.panel.locator("select")).to_contain_text("default")
    opened.picture("backed-up")


def test_a_sweep_is_watched_and_its_winners_written_by_a_click(
    browser: Browser, lab: str, pictures: Path, home: Path, config: Path
) -> None:
    make_pdf(home / "books" / "glaciers.pdf", ["Why glaciers melt in summer", "Warm air melts them."] * 3)
    with KnowledgeBase.open(config) as knowledge_base:
        knowledge_base.ingest(home / "books")
        [hit] = knowledge_base.search("why do glaciers melt?", k=1)
        knowledge_base.judgements().mark("why do glaciers melt?", hit, "relevant")
    small = nbformat.read(home / "notebooks" / "tuning.ipynb", 4)
    parameters = next(cell for cell in small.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source += "\n" + "\n".join(
        f"{name} = {value if name in ('seconds', 'count') else repr(value)}" for name, value in SMALL_SWEEP.items()
    )
    nbformat.write(small, home / "notebooks" / "sweep.ipynb")
    notebook = Notebook(browser, lab, "sweep", pictures=pictures)
    notebook.run_all(until="button:has-text('Write to the configuration')")
    assert notebook.page.locator(".jp-OutputArea-output img").count() >= 2
    expect(notebook.page.locator(".jp-RenderedJSON")).to_have_count(0)
    notebook.page.get_by_role("button", name="Write to the configuration").click()
    expect(notebook.page.get_by_role("button", name="Write to the configuration")).to_be_disabled()
    assert '"batch_size": 8' in config.read_text("utf-8")
    notebook.page.screenshot(path=pictures / "tuning.png")
    notebook.close()


def test_a_tab_that_is_closed_in_the_middle_of_an_ingest_loses_nothing(
    browser: Browser, lab: str, pictures: Path, home: Path, config: Path
) -> None:
    notebook = Notebook(browser, lab, "ingest", pictures=pictures)
    notebook.run_all()
    sources = notebook.panel.locator("textarea").first
    sources.fill(str(home / "many"))
    sources.press("Tab")
    notebook.button("Ingest").click()
    expect(notebook.button("Stop")).to_be_enabled()
    notebook.close()
    again = Notebook(browser, lab, "ingest", pictures=pictures)
    again.run_all()
    sources = again.panel.locator("textarea").first
    sources.fill(str(home / "many"))
    sources.press("Tab")
    again.button("Ingest").click()  # waits until the kernel is done with the first one
    expect(again.panel).to_contain_text("120 unchanged")
    expect(again.panel).to_contain_text("0 failed")
    with KnowledgeBase.open(config) as knowledge_base:
        assert sum("/many/" in path for path in knowledge_base.store.documents()) == 120
    again.close()
