"""The project's own files: pins, layers, licences, what lies at the top."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from places import ROOT

FLOORS = [
    {
        "types",
        "errors",
        "config",
        "config_file",
        "config_problems",
        "html",
        "overlap",
        "counting",
        "run",
        "schedule",
        "presence",
        "headline",
        "shown",
        "garbage",
        "importing",
    },
    {"extract", "chunk", "embed", "store", "sources", "exports", "judgements"},
    {"report", "plan", "space", "results", "bundled", "page_view", "backup", "collection_map", "charts"},
    {"pipeline", "search", "questions"},
    {"settle", "indexing"},
    {"ingest", "migrate", "health", "logs", "similar", "explain", "evaluate", "drift"},
    {"preview", "trouble", "writer", "tune", "maintenance"},
    {"keeping", "measuring"},
    {"knowledge_base"},
    {"progress", "setup"},
    {"widgets"},
    {"cli", "demo", "notebooks", "live_tuning", "config_docs", "__init__"},
    {"__main__"},
]


def test_conda_users_get_the_same_environment_from_the_same_pins() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    [pip] = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert pip == ["-r requirements.lock", "-e ."]
    [python] = [item for item in environment["dependencies"] if str(item).startswith("python=")]
    lock = (ROOT / "requirements.lock").read_text()
    assert f"Python {python.removeprefix('python=')}" in lock.splitlines()[1]


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    extras.pop("otel")  # for those who have a collector; no part of the environment that is set up here
    wanted = project["dependencies"] + [item for extra in extras.values() for item in extra]
    lock = (ROOT / "requirements.lock").read_text()
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", lock, re.MULTILINE))
    names = {re.split(r"[\[<>=]", item)[0] for item in wanted}
    assert names <= pins.keys()
    assert not [pin for pin in pins.values() if "+" in pin]


def test_a_file_imports_only_from_floors_below() -> None:
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    for file in (ROOT / "kb").rglob("*.py"):
        name = file.relative_to(ROOT / "kb").parts[0].removesuffix(".py")
        assert name in floor, f"{name} stands on no floor"
        for imported in _imported_at_the_top(file):
            if imported != name:
                assert floor[imported] < floor[name] or floor[name] == 0, f"{name} imports {imported}"


def _imported_at_the_top(file: Path) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    modules = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    return {module.split(".")[1] for module in modules if module.startswith("kb.")}


def test_the_server_knows_nothing_of_kb() -> None:
    for file in (ROOT / "server").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) kb\b", file.read_text("utf-8"), re.MULTILINE), file


def test_the_top_holds_what_was_agreed() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if files.returncode != 0:
        pytest.skip("this is not a git checkout")
    top = {line.split("/")[0] for line in files.stdout.splitlines()}
    tools = {"pyproject.toml", "requirements.lock", "Makefile", "LICENSE", "CHANGELOG.md", ".ci", ".gitignore"}
    assert top <= {"notebooks", "kb", "server", "config", "tests", "environment.yml", "README.md"} | tools


def test_every_sample_pdf_has_its_origin_and_licence_beside_it() -> None:
    folder = ROOT / "tests" / "data" / "pdfs"
    told = (folder / "COPYRIGHT.md").read_text("utf-8")
    samples = sorted(folder.glob("*.pdf"))
    assert len(samples) >= 4
    assert all(sample.name in told for sample in samples)
    assert len(list((folder / "licences").iterdir())) >= 3
