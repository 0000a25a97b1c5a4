"""`kb run`, `kb schedule` and the maintenance notebook: what a scheduler does at three in the morning."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import nbformat
import pytest
import yaml
from click.testing import CliRunner
from filelock import FileLock
from making import make_pdf, write_config
from places import ROOT
from running import data_of, outputs_of, papermill, parameters

from kb.cli import main
from kb.schedule import EXAMPLE, schedules


@pytest.fixture
def config(tmp_path: Path, endpoint: str) -> Path:
    make_pdf(tmp_path / "pdfs" / "bees.pdf", ["Bees dance.", "Wasps do not."], title="<script>alert(1)</script>")
    return write_config(tmp_path, endpoint, api_key="sekret-key-1")


def run(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(main, ["run", *arguments, "--runs", str(tmp_path / "runs"), "--json"])
    return done.exit_code, json.loads(done.stdout) if done.stdout else {}


def test_a_run_has_a_folder_of_its_own_and_gives_data(config: Path, tmp_path: Path) -> None:
    code, told = run(tmp_path, "ingest", "--config", str(config), "-p", "source", str(tmp_path / "pdfs"))
    assert code == 0
    assert told["result"]["added"] == 1  # type: ignore[index]
    [folder] = [path for path in (tmp_path / "runs" / "ingest").iterdir() if path.is_dir()]
    assert json.loads((folder / "run.json").read_text("utf-8")) == told
    assert "sekret-key-1" not in (folder / "ingest.ipynb").read_text("utf-8")


def test_a_run_that_fails_says_so_on_top_and_at_the_exit(tmp_path: Path) -> None:
    config = write_config(tmp_path, "http://127.0.0.1:9/v1", retries=0)
    make_pdf(tmp_path / "pdfs" / "a.pdf", ["text"])
    code, told = run(tmp_path, "ingest", "--config", str(config), "-p", "source", str(tmp_path / "pdfs"))
    assert code == 2
    first = nbformat.read(str(told["output"]), 4).cells[0]
    assert first.outputs[0]["text"].startswith("[pdf] Failed to setup PDF knowledge base: Connection error")


def test_two_schedules_do_not_collide(config: Path, tmp_path: Path) -> None:
    home = tmp_path / "runs" / "ingest"
    home.mkdir(parents=True)
    with FileLock(home / ".running.lock"):
        code, told = run(tmp_path, "ingest", "--config", str(config), "-p", "source", str(tmp_path / "pdfs"))
    assert code == 2
    assert "running already" in str(told["error"])


@pytest.mark.parametrize(
    ("pair", "said"), [(("sorce", "x"), "Did you mean source"), (("prune", "perhaps"), "is no bool")]
)
def test_a_wrong_parameter_is_said_before_anything_runs(tmp_path: Path, pair: tuple[str, str], said: str) -> None:
    code, told = run(tmp_path, "ingest", "-p", *pair)
    assert code == 2
    assert said in str(told["error"])


def test_the_schedules_in_the_repository_are_those_that_are_made() -> None:
    folder = ROOT / "config" / "schedule"
    made = schedules(EXAMPLE)
    assert {file.name: file.read_text("utf-8") for file in folder.iterdir()} == made
    cronjob = yaml.safe_load(made["cronjob.yaml"])
    assert cronjob["spec"]["schedule"] == "0 3 * * *"
    compile(made["airflow_dag.py"], "airflow_dag.py", "exec")


def test_a_schedule_is_filled_in_for_this_installation(config: Path) -> None:
    options = ["--daily-at", "04:30", "-p", "source", "/data/all my reports", "--config", str(config), "--json"]
    done = CliRunner().invoke(main, ["schedule", "ingest", *options])
    files = json.loads(done.stdout)["files"]
    [line] = [line for line in files["crontab"].splitlines() if line.startswith("30 4")]
    assert "/data/all my reports" in shlex.split(line.split("* * *")[1])
    assert str(config) in line
    assert "OnCalendar=*-*-* 04:30:00" in files["pdf-knowledge-ingest.timer"]


def test_maintenance_shows_the_state_and_keeps_backups(config: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "ingest", "--config", str(config), "-p", "source", str(tmp_path / "pdfs"))[0] == 0
    output = tmp_path / "state.ipynb"
    options = parameters(config=config, backup_to=tmp_path / "backups", keep_backups=1)
    for _ in range(2):
        done = papermill("maintenance", output, *options)
        assert done.returncode == 0, done.stderr
    state = data_of(output)
    assert state["status"]["documents"] == 1
    assert min(state["drift"]["cosines"]) > 0.999
    assert len(state["runs"]) == 1
    assert len(list((tmp_path / "backups").iterdir())) == 1
    html = "".join(data.get("text/html", "") for data in outputs_of(output))
    assert "<svg" in html
    assert "<script>alert" not in html
    assert "sekret-key-1" not in output.read_text("utf-8")
