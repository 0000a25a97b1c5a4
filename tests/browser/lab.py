"""JupyterLab (or Voila) as a process, and a notebook in it as a person sees it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from places import ROOT
from playwright.sync_api import Browser, Locator, Page, TimeoutError

QUIET = ("--port=0", "--ip=127.0.0.1", "--allow-root", "--IdentityProvider.token=")
START_SECONDS = 90
RUN_MS = 60_000


@contextmanager
def serving(folder: Path, program: str, *options: str) -> Iterator[str]:
    """The base URL of `jupyter lab` or `voila` with this folder as its home and as the place of its settings."""
    log = folder / f"{program}.log"
    settings = folder / "jupyter" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')  # its question hides a corner
    home = {"HOME": str(folder), "JUPYTER_CONFIG_DIR": str(folder / "jupyter"), "IPYTHONDIR": str(folder / "ipython")}
    environment = os.environ | home | {"PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", program, "--no-browser", *options],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # its kernels end with it
        )
    try:
        yield _wait_for_url(process, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for_url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        found = re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)/", log.read_text())
        if found:
            url = f"http://127.0.0.1:{found[1]}"
            try:
                with urlopen(f"{url}/api", timeout=2):
                    return url
            except HTTPError:  # Voila has no such page, but it answers
                return url
            except OSError:
                pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def install_notebooks(folder: Path, config: Path) -> None:
    """The six notebooks in a folder, with their configuration where they look for it."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (folder / "config").mkdir(exist_ok=True)
    if config.is_file():
        shutil.copy(config, folder / "config" / "pdf_knowledge.json")


class Notebook:
    """A notebook open in JupyterLab, all cells run."""

    def __init__(self, browser: Browser, url: str, name: str, *, pictures: Path, height: int = 900) -> None:
        self.name, self._pictures, self._theme = name, pictures, "Light"
        self.page: Page = browser.new_page(viewport={"width": 1000, "height": height})
        self.page.goto(f"{url}/lab/tree/notebooks/{name}.ipynb?reset")
        self.page.wait_for_selector(".jp-Notebook", timeout=RUN_MS)
        self.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=RUN_MS)

    def run_all(self, until: str = ".pdfkb-panel") -> None:
        prompt = self.page.locator(".jp-InputPrompt").filter(has_text=re.compile(r"\[[0-9*]+\]")).first
        for _ in range(5):  # JupyterLab lets a click go by while it still connects to the kernel
            self.page.get_by_role("menuitem", name="Run", exact=True).click()
            self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            try:
                prompt.wait_for(timeout=3_000)
                break
            except TimeoutError:
                continue
        self.page.wait_for_selector(until, timeout=RUN_MS)

    def put_on(self, theme: str) -> None:
        """One of JupyterLab's own themes, "Light" or "Dark"; the program has to be exposed in the browser."""
        name = f"JupyterLab {theme}"
        self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=name)
        self._theme = theme

    @property
    def panel(self) -> Locator:
        return self.page.locator(".pdfkb-panel").first

    def button(self, name: str) -> Locator:
        return self.panel.get_by_role("button", name=name)

    def picture(self, name: str) -> Path:
        """A screenshot of the window, kept as an artefact."""
        file = self._pictures / f"{self.name}-{name}-{self._theme.lower()}.png"
        self.panel.evaluate("panel => panel.scrollIntoView()")
        self.page.screenshot(path=file)
        return file

    def close(self) -> None:
        self.page.close()
