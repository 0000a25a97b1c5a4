"""A browser, and JupyterLab with a collection in it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import make_pdf, write_config
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))

from lab import QUIET, Notebook, install_notebooks, serving

SCRIPT = "<script>document.title = 'taken over'</script>"
MARGIN = "Operating margin fell to nine percent in 2022\nbecause freight costs doubled."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed after its tests: while playwright runs, no other test could run an event loop."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the Debian package chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: $PDFKB_PICTURES, else a folder of this run."""
    named = os.environ.get("PDFKB_PICTURES")
    folder = Path(named) if named else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> Path:
    """A folder as a person has it: notebooks, a configuration, PDFs to read."""
    folder = tmp_path_factory.mktemp("home")
    make_pdf(folder / "papers" / "annual.pdf", ["Cover", MARGIN, "Outlook"], title=SCRIPT)
    make_pdf(folder / "papers" / "bees.pdf", ["Bees dance to tell where flowers are."], title="On bees")
    for number in range(120):
        make_pdf(folder / "many" / f"report{number}.pdf", [f"Report {number}, page {page}." for page in range(20)])
    install_notebooks(folder, write_config(folder, endpoint))
    return folder


@pytest.fixture(scope="module")
def lab(home: Path) -> Iterator[str]:
    """The URL of a JupyterLab that serves this folder."""
    with serving(home, "jupyterlab", *QUIET) as url:
        yield url


@pytest.fixture
def opened(browser: Browser, lab: str, pictures: Path, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """The notebook that the test names, all its cells run."""
    notebook = Notebook(browser, lab, request.param, pictures=pictures)
    notebook.run_all()
    yield notebook
    notebook.close()
