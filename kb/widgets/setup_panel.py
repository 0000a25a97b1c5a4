"""Choose the endpoint, test it, write the configuration, read a first PDF, ask a first question."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import ipywidgets as widgets

from kb.bundled import bundled_server
from kb.errors import KnowledgeBaseError
from kb.health import Check
from kb.html import render
from kb.knowledge_base import KnowledgeBase
from kb.report import IngestReport
from kb.results import SearchResult
from kb.setup import KEY_VARIABLE, KINDS, configuration_file, overriding_variables, write_configuration
from kb.widgets.background import in_background, start
from kb.widgets.checks_view import ChecksView
from kb.widgets.parts import Panel, button, error_html, field, heading, row
from kb.widgets.progress_bar import ProgressBar
from kb.widgets.source_chooser import SourceChooser

__all__ = ["SetupPanel"]


class SetupPanel(Panel):
    """`knowledge_base` is there once the configuration is written."""

    def __init__(
        self, *, config: str, kind: str, base_url: str, model: str, timeout: float, first_pdf: str, question: str
    ) -> None:
        self.knowledge_base: KnowledgeBase | None = None
        self.report: IngestReport | None = None
        self.answer: SearchResult | None = None
        self._server = ExitStack()
        atexit.register(self._server.close)
        usual = KINDS[kind]
        choices = [(each.label, name) for name, each in KINDS.items()]
        self.kind = widgets.Dropdown(options=choices, value=kind)
        self.base_url = widgets.Text(base_url or usual.base_url)
        self.model = widgets.Text(model or usual.model)
        self.key = widgets.Password(placeholder=f"kept as ${KEY_VARIABLE}, in no file")
        self.timeout = widgets.BoundedFloatText(timeout, min=1, max=3600)
        self.hint = widgets.HTML()
        self.serve = button("Start it here", "power-off", tooltip="Start the bundled server, until this kernel ends")
        self.test = button("Test the endpoint", "stethoscope", primary=True)
        self.checks = ChecksView()
        self.file = widgets.Text(str(configuration_file(config)), layout=widgets.Layout(flex="1 1 24rem", width="auto"))
        self.write = button("Write the configuration", "save", primary=True)
        self.written = widgets.HTML()
        self.chooser = SourceChooser(first_pdf, configuration_file(config).parent)
        self.ingest = button("Read it", "play", primary=True)
        self.progress = ProgressBar()
        self.ingested = widgets.HTML()
        self.question = widgets.Text(
            question, placeholder="Ask it something", layout=widgets.Layout(flex="1 1 20rem", width="auto")
        )
        self.ask = button("Ask", "search", primary=True)
        self.answered = widgets.HTML()
        super().__init__(self._layout())
        self._connect()

    def _layout(self) -> list[widgets.Widget]:
        return [
            heading("1. Where texts become vectors"),
            row(
                field("Kind of endpoint", self.kind),
                field("URL, ending in /v1", self.base_url, width="20rem"),
                field("Model", self.model),
                field("Key, if it wants one", self.key),
                field("Timeout, seconds", self.timeout, width="8rem"),
            ),
            self.hint,
            row(self.test, self.serve),
            self.checks,
            heading("2. The configuration file"),
            row(self.file, self.write),
            self.written,
            heading("3. A first PDF, a small one"),
            self.chooser,
            row(self.ingest),
            self.progress,
            self.ingested,
            heading("4. A first question"),
            row(self.question, self.ask),
            self.answered,
        ]

    def _connect(self) -> None:
        self.kind.observe(lambda _: self._suggest(), names="value")
        self.test.on_click(lambda _: start(self.run_checks()))
        self.serve.on_click(lambda _: start(self.start_server()))
        self.write.on_click(lambda _: self.save())
        self.ingest.on_click(lambda _: start(self.run_ingest()))
        self.ask.on_click(lambda _: start(self.run_question()))
        self.question.on_msg(lambda _, content, __: self._entered(content))
        self._show_kind()
        self._enable()

    async def run_checks(self) -> None:
        """Tests what is typed; nothing is written."""
        self._keep_key()
        self.test.disabled = True
        try:
            await self.checks.run(self._diagnose)
        except KnowledgeBaseError as error:
            self.checks.value = error_html(error)
        finally:
            self.test.disabled = False
            self._enable()

    async def start_server(self) -> None:
        """Starts the bundled server at the URL's port, for as long as this kernel lives."""
        self.serve.disabled, self.serve.description = True, "Starting …"
        port = str(urlsplit(self.base_url.value).port or 8000)
        try:
            server = bundled_server("--port", port)
            self.base_url.value = await in_background(lambda: self._server.enter_context(server))
            self.serve.description = "Running"
        except KnowledgeBaseError as error:
            self.checks.value = error_html(error)
            self.serve.disabled, self.serve.description = False, "Start it here"
            return
        await self.run_checks()

    def save(self) -> None:
        """Writes the configuration file and opens the knowledge base that it describes."""
        has_key = self._keep_key()
        file = configuration_file(self.file.value.strip())
        try:
            write_configuration(
                file,
                base_url=self.base_url.value.strip(),
                model=self.model.value.strip(),
                timeout=self.timeout.value,
                key_variable=KEY_VARIABLE if has_key else "",
            )
            self.knowledge_base = KnowledgeBase.open(file)
        except KnowledgeBaseError as error:
            self.written.value = error_html(error)
            return
        self.chooser.folder = self.knowledge_base.uploads
        variable = KEY_VARIABLE if has_key else ""
        self.written.value = render("written.html", file=file, variable=variable, overridden=overriding_variables())
        self._enable()

    async def run_ingest(self) -> None:
        """Reads the first PDF."""
        assert self.knowledge_base is not None
        knowledge_base, paths = self.knowledge_base, self.chooser.paths
        self.ingest.disabled = True
        self.progress.begin()
        try:
            self.report = await in_background(
                lambda: knowledge_base.ingest(*paths, draw=self.progress.note), self.progress.refresh
            )
            self.ingested.value = self.report._repr_html_()
        except KnowledgeBaseError as error:
            self.ingested.value = error_html(error)
        finally:
            self.progress.end()
            self._enable()

    async def run_question(self) -> None:
        """Asks the first question."""
        if self.knowledge_base is None:
            return
        knowledge_base, question = self.knowledge_base, self.question.value
        try:
            self.answer = await in_background(lambda: knowledge_base.search(question, k=3))
            self.answered.value = self.answer._repr_html_()
        except KnowledgeBaseError as error:
            self.answered.value = error_html(error)

    def _diagnose(self) -> Iterator[Check]:
        file = configuration_file(self.file.value.strip())
        embedder = {"base_url": self.base_url.value.strip(), "model": self.model.value.strip()}
        if self.key.value:
            embedder["api_key"] = self.key.value
        return KnowledgeBase.open(
            file if file.is_file() else None, embedder={**embedder, "timeout": self.timeout.value}
        ).diagnose()

    def _keep_key(self) -> bool:
        """Keeps the key in this process alone; whether one was typed."""
        if self.key.value:
            os.environ[KEY_VARIABLE] = self.key.value
        return bool(self.key.value)

    def _entered(self, content: dict[str, object]) -> None:
        if content.get("event") == "submit":
            start(self.run_question())

    def _suggest(self) -> None:
        kind = KINDS[self.kind.value]
        self.base_url.value, self.model.value = kind.base_url, kind.model
        self._show_kind()

    def _show_kind(self) -> None:
        self.hint.value = render("kind.html", kind=KINDS[self.kind.value])
        self.serve.layout.display = None if self.kind.value == "bundled" else "none"

    def _enable(self) -> None:
        """Each step can be taken when the one before is done."""
        self.write.disabled = not self.checks.healthy
        self.ingest.disabled = self.knowledge_base is None
        self.ask.disabled = self.report is None
