"""The README says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from places import ROOT

from kb.config import Settings
from kb.config_docs import settings_table

README = (ROOT / "README.md").read_text("utf-8")


def test_the_table_of_settings_is_the_code() -> None:
    assert settings_table() in README, "run: python -m kb.config_docs"


@pytest.mark.parametrize("snippet", re.findall(r"```json\n(.*?)```", README, re.DOTALL))
def test_every_json_snippet_loads(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDER_API_KEY", "key")
    (tmp_path / "config.json").write_text(snippet, "utf-8")
    Settings.load(tmp_path / "config.json")


@pytest.mark.parametrize("file", sorted((ROOT / "config").rglob("*.json")), ids=lambda file: file.name)
def test_every_example_configuration_loads(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDER_API_KEY", "key")
    if file.parent.name in ("config", "examples"):
        json.loads(file.read_text("utf-8"))
        Settings.load(file)


@pytest.mark.parametrize("path", re.findall(r"\]\(([\w./-]+)\)", README))
def test_every_link_into_the_project_leads_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", re.findall(r"`make ([a-z]+)`", README))
def test_every_make_target_named_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
