"""Which PDFs: folders and files by path, or files given to the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets

from kb.widgets.parts import row

__all__ = ["SourceChooser"]

MOST_SUGGESTIONS = 200


class SourceChooser(widgets.VBox):  # type: ignore[misc]
    """`paths` are the lines of `source`. Uploaded files are kept in `folder`, which is then one of them."""

    def __init__(self, source: str, folder: Path) -> None:
        self.folder = folder
        wide = widgets.Layout(flex="1 1 24rem", width="auto")
        self.source = widgets.Textarea(
            source, placeholder="a folder or a file; several, one a line", rows=2, layout=wide
        )
        self.browse = widgets.Combobox(
            placeholder="type or choose a folder to add", ensure_option=False, continuous_update=True, layout=wide
        )
        self.add = widgets.Button(description="Add", icon="folder-open", layout=widgets.Layout(width="auto"))
        self.upload = widgets.FileUpload(
            accept=".pdf", multiple=True, description="Files from this computer", layout=widgets.Layout(width="auto")
        )
        self.browse.observe(lambda _: self._suggest(), names="value")
        self.add.on_click(lambda _: self._add(self.browse.value))
        self.upload.observe(lambda change: self._keep(change["new"]), names="value")
        self._suggest()
        super().__init__([row(self.source), row(self.browse, self.add, self.upload)])

    @property
    def paths(self) -> list[str]:
        """What is chosen."""
        return [line.strip() for line in self.source.value.splitlines() if line.strip()]

    def _suggest(self) -> None:
        """Folders to go on with: those in the folder that is typed so far."""
        typed = Path(self.browse.value or ".").expanduser()
        folder = typed if typed.is_dir() else typed.parent
        try:
            inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError:
            inside = []
        self.browse.options = [str(path) for path in inside[:MOST_SUGGESTIONS]]

    def _add(self, path: str) -> None:
        if path.strip() and path.strip() not in self.paths:
            self.source.value = "\n".join([*self.paths, path.strip()])
        self.browse.value = ""

    def _keep(self, files: tuple[dict[str, Any], ...]) -> None:
        for file in files:
            self.folder.mkdir(parents=True, exist_ok=True)
            # The browser's name may hold a path: only its last part counts.
            name = Path(str(file["name"]).replace("\\", "/")).name
            if name:
                (self.folder / name).write_bytes(file["content"])
        if files:
            self._add(str(self.folder))
            self.upload.value = ()
