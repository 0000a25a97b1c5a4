"""Running a notebook as a scheduler does, and reading what came out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
from places import ROOT

__all__ = ["data_of", "outputs_of", "papermill", "parameters"]


def papermill(name: str, output: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / f"{name}.ipynb"), str(output), *options]
    known = os.environ | {"PYTHONWARNINGS": "ignore"} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=known)


def parameters(**values: object) -> list[str]:
    return [part for name, value in values.items() for part in ("-p", name, str(value))]


def outputs_of(output: Path) -> list[dict[str, Any]]:
    outputs = [item for cell in nbformat.read(output, 4).cells for item in cell.get("outputs", [])]
    return [item["data"] for item in outputs if "data" in item]


def data_of(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = next(data["application/json"] for data in outputs_of(output) if "application/json" in data)
    return found
