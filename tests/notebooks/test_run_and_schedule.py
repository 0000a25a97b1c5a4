"""`kb run` and `kb schedule`: run folders, retention, one at a time, the error on top, and schedules that hold."""

from __future__ import annotations

import ast
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from filelock import FileLock
from making import make_pdf, write_config
from places import ROOT

from kb.errors import RunError
from kb.run import find_notebook, parse_parameters, run_notebook
from kb.schedule import EXAMPLE, Installation, schedules


def kb(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kb", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=cwd)


def test_a_run_has_a_folder_with_its_report_and_its_record(tmp_path: Path, endpoint: str) -> None:
    make_pdf(tmp_path / "papers" / "a.pdf", ["Freight costs doubled."])
    config = write_config(tmp_path / "kb", endpoint)
    done = kb("run", "ingest", "-p", "source", str(tmp_path / "papers"), "--config", str(config), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [folder] = [path for path in (tmp_path / "runs" / "ingest").iterdir() if path.is_dir()]
    assert Path(done.stdout.strip()) == folder / "ingest.ipynb"
    record = json.loads((folder / "run.json").read_text())
    assert record["error"] == ""
    assert record["result"]["added"] == 1


def test_a_run_that_fails_says_so_on_top_of_its_report_and_by_its_exit_status(tmp_path: Path) -> None:
    config = write_config(tmp_path / "kb", "http://127.0.0.1:9/v1", retries=0)
    make_pdf(tmp_path / "papers" / "a.pdf", ["Freight costs doubled."])
    done = kb("run", "ingest", "-p", "source", "papers", "--config", str(config), "--json", cwd=tmp_path)
    assert done.returncode == 2
    phrase = "[pdf] Failed to setup PDF knowledge base: Connection error"
    assert done.stderr.strip().splitlines()[-1].startswith(phrase)
    record = json.loads(done.stdout)
    assert record["error"].startswith(phrase)
    first = nbformat.read(record["output"], 4).cells[0]
    nbformat.validate(nbformat.read(record["output"], 4))
    assert first.outputs[0]["text"].startswith(phrase)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook that costs nothing."""
    cell = nbformat.v4.new_code_cell("count: int = 1  # how often\non: bool = False  # or not")
    cell.metadata["tags"] = ["parameters"]
    file = tmp_path / "small.ipynb"
    made = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_code_cell("assert on or count < 9, 'too often'")])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, file)
    return file


def test_old_runs_go_and_foreign_folders_stay(notebook: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "small" / "mine").mkdir(parents=True)
    for number in range(4):
        (runs / "small" / f"2020010{number + 1}T000000.000000Z").mkdir()
    run_notebook(notebook, {}, runs=runs, keep=2)
    left = sorted(path.name for path in (runs / "small").iterdir() if path.is_dir())
    assert left[-1] == "mine"
    assert len(left) == 3
    assert left[0].startswith("20200104")


def test_a_second_run_of_the_same_notebook_is_refused_while_the_first_is_under_way(
    notebook: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    (runs / "small").mkdir(parents=True)
    with FileLock(runs / "small" / ".running.lock"), pytest.raises(RunError, match="small is running already"):
        run_notebook(notebook, {}, runs=runs)
    assert run_notebook(notebook, {}, runs=runs).error == ""


def test_parameters_get_the_type_of_the_notebook(notebook: Path, tmp_path: Path) -> None:
    assert parse_parameters(notebook, {"count": "12", "on": "true"}) == {"count": 12, "on": True}
    with pytest.raises(RunError, match="Did you mean count"):
        parse_parameters(notebook, {"cuont": "1"})
    with pytest.raises(RunError, match="'many' is no int"):
        parse_parameters(notebook, {"count": "many"})
    assert run_notebook(notebook, {"count": 9}, runs=tmp_path / "runs").error == "too often"


def test_an_unknown_notebook_names_those_there_are() -> None:
    with pytest.raises(RunError, match=r"ingest, maintenance, search, setup"):
        find_notebook("nonsense")


# --- schedules -------------------------------------------------------------------------------------------------------


def test_the_files_of_the_project_are_what_the_command_prints() -> None:
    made = schedules(EXAMPLE)
    there = {file.name: file.read_text("utf-8") for file in (ROOT / "config" / "schedule").iterdir()}
    assert there == made


def test_a_crontab_line_runs_here_with_every_awkward_character(notebook: Path, tmp_path: Path) -> None:
    folder = tmp_path / "with space & 50%"
    folder.mkdir()
    installation = Installation(str(notebook), {"count": "3"}, folder=str(folder), config="")
    line = schedules(installation)["crontab"].splitlines()[1]
    assert line.startswith("0 3 * * * ")
    command = line.removeprefix("0 3 * * * ").replace(r"\%", "%")  # as cron does
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert list((folder / "runs" / "small").glob("*/small.ipynb"))


def test_the_cron_job_is_one_writer_at_a_time() -> None:
    job = yaml.safe_load(schedules(EXAMPLE)["cronjob.yaml"])
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][1:5] == ["-m", "kb", "run", "ingest"]
    assert container["command"][-2:] == ["source", "/data/reports"]


def test_the_airflow_graph_is_python_and_names_a_notebook_that_exists() -> None:
    source = schedules(EXAMPLE)["airflow_dag.py"]
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    operator = next(call for call in calls if getattr(call.func, "id", "") == "PapermillOperator")
    words = {word.arg: ast.literal_eval(word.value) for word in operator.keywords}
    assert (ROOT / "notebooks" / words["input_nb"].rsplit("/", 1)[1]).is_file()
    assert words["parameters"]["source"] == "/data/reports"
    assert "{{ ts_nodash }}" in words["output_nb"]


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs the Debian package systemd")
    made = schedules(Installation(user="root"))
    for name in ("pdf-knowledge-ingest.service", "pdf-knowledge-ingest.timer"):
        (tmp_path / name).write_text(made[name])
    units = [str(file) for file in tmp_path.iterdir()]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_unit_quotes_what_systemd_would_read_itself() -> None:
    service = schedules(Installation(parameters={"source": '/a b/50%/"$x"'}))["pdf-knowledge-ingest.service"]
    [line] = [line for line in service.splitlines() if line.startswith("ExecStart=")]
    read = shlex.split(line.removeprefix("ExecStart=").replace("%%", "%").replace("$$", "$"))
    assert read[-1] == '/a b/50%/"$x"'


def test_a_schedule_is_refused_before_it_can_fail_at_night(tmp_path: Path) -> None:
    assert "no parameter 'sauce'" in kb("schedule", "ingest", "-p", "sauce", "x", cwd=tmp_path).stderr
    assert "no time of day" in kb("schedule", "--daily-at", "25:00", cwd=tmp_path).stderr
    printed = kb("schedule", "ingest", "-p", "source", "/data", "--daily-at", "04:30", cwd=tmp_path).stdout
    assert "30 4 * * *" in printed
    assert sys.executable in printed
