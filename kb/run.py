"""`kb run`: a notebook over papermill in a folder of its own, one at a time, old runs deleted, the error on top."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kb.errors import RunError

__all__ = ["RunResult", "find_notebook", "parse_parameters", "run_notebook"]

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
STAMP = "%Y%m%dT%H%M%S.%fZ"
STAMPED = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
RECORD = "run.json"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run. `error` is empty where it went well; `result` is the data of the notebook's first result."""

    notebook: str
    folder: str
    output: str
    seconds: float
    error: str
    result: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def find_notebook(name: str) -> Path:
    """A notebook by path, or by name among those of this project. Raises RunError."""
    for path in (Path(name), Path("notebooks") / f"{name}.ipynb", NOTEBOOKS / f"{name}.ipynb"):
        if path.is_file():
            return path.resolve()
    there = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    raise RunError("no such notebook", where=name, fix=f"Give a path, or one of {', '.join(there)}.")


def parse_parameters(notebook: Path, pairs: Mapping[str, str]) -> dict[str, Any]:
    """Values as the types that the notebook's parameters have. Raises RunError for a name that it does not know."""
    from papermill.inspection import inspect_notebook  # papermill takes half a second to import

    known = inspect_notebook(str(notebook))
    values: dict[str, Any] = {}
    for name, text in pairs.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            fix = f"Did you mean {near[0]}?" if near else f"It has {', '.join(known)}."
            raise RunError(f"{notebook.name} has no parameter {name!r}", where="-p", fix=fix)
        values[name] = _typed(name, text, str(known[name]["inferred_type_name"]))
    return values


def _typed(name: str, text: str, kind: str) -> Any:
    try:
        match kind:
            case "bool":
                return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
            case "int":
                return int(text)
            case "float":
                return float(text)
            case _:
                return text
    except (KeyError, ValueError):
        raise RunError(f"{text!r} is no {kind}", where=f"-p {name}", fix=f"Give a value of type {kind}.") from None


def run_notebook(
    notebook: Path, parameters: Mapping[str, Any], *, runs: Path, keep: int = 30, wait: float = 0.0
) -> RunResult:
    """Executes a notebook into a new folder under `runs`, of which the newest `keep` stay.

    While the same notebook runs already this waits `wait` seconds. Raises RunError where it then still runs.
    """
    home = runs.absolute() / notebook.stem
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / ".running.lock")
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        fix = "Wait until it is done, or give it --wait SECONDS."
        raise RunError(f"{notebook.stem} is running already", where=str(home), fix=fix) from None
    with lock:
        folder = home / datetime.now(UTC).strftime(STAMP)
        folder.mkdir()
        result = _executed(notebook, parameters, folder)
        (folder / RECORD).write_text(json.dumps(result.to_dict(), indent=1, default=str) + "\n", "utf-8")
        _thin_out(home, keep)
    return result


def _executed(notebook: Path, parameters: Mapping[str, Any], folder: Path) -> RunResult:
    import papermill
    from traitlets.config import Config

    output = folder / notebook.name
    started, error = time.monotonic(), ""
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            dict(parameters),
            kernel_name="python3",
            progress_bar=False,
            config=Config({"KernelManager": {"transport_encryption": "auto"}}),  # else a warning of every kernel
        )
    except papermill.PapermillExecutionError as failure:
        error = str(failure.evalue).strip() or str(failure.ename)
        _put_on_top(output, error)
    seconds = round(time.monotonic() - started, 3)
    return RunResult(notebook.stem, str(folder), str(output), seconds, error, _first_data(output))


def _put_on_top(output: Path, error: str) -> None:
    """The plain error as the first cell, as text: what a notebook says is never markup of its report."""
    nbformat: Any = importlib.import_module("nbformat")  # has types, but none that mypy may call
    executed = nbformat.read(output, 4)
    said = nbformat.v4.new_output("stream", name="stderr", text=error + "\n")
    cell = nbformat.v4.new_code_cell(
        "", outputs=[said], metadata={"tags": ["error"], "jupyter": {"source_hidden": True}}
    )
    executed.cells.insert(0, cell)
    nbformat.write(executed, output)


def _first_data(output: Path) -> dict[str, Any]:
    nbformat: Any = importlib.import_module("nbformat")
    outputs = [item for cell in nbformat.read(output, 4).cells for item in cell.get("outputs", [])]
    data = (item["data"]["application/json"] for item in outputs if "application/json" in item.get("data", {}))
    found: dict[str, Any] = next(data, {})
    return found


def _thin_out(home: Path, keep: int) -> None:
    """Deletes the oldest runs; only folders that a run made."""
    made = [entry for entry in os.scandir(home) if entry.is_dir() and STAMPED.fullmatch(entry.name)]
    for entry in sorted(made, key=lambda entry: entry.name, reverse=True)[max(keep, 1) :]:
        shutil.rmtree(entry.path, ignore_errors=True)
