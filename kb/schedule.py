"""Schedules that run a notebook once a day: crontab, systemd, Kubernetes and Airflow, filled in for an installation."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kb.errors import RunError

__all__ = ["EXAMPLE", "Installation", "schedules"]

ROOT = Path(__file__).resolve().parent.parent
SECRET = "pdf-knowledge"  # the Kubernetes secret and the systemd environment file that hold EMBEDDER_API_KEY


@dataclass(frozen=True)
class Installation:
    """Where things are, and what is to run when."""

    notebook: str = "ingest"
    parameters: Mapping[str, str] = field(default_factory=dict)
    daily_at: str = "03:00"
    python: str = sys.executable
    folder: str = str(ROOT)
    config: str = ""
    user: str = "pdf-knowledge"
    image: str = "pdf-knowledge-base:latest"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", self.daily_at):
            raise RunError(f"{self.daily_at!r} is no time of day", where="--daily-at", fix="Write it as 03:00.")

    @property
    def name(self) -> str:
        """Of the job, the unit and the graph."""
        return f"pdf-knowledge-{self.notebook}"

    @property
    def cron(self) -> str:
        """The time as cron writes it."""
        hour, minute = self.daily_at.split(":")
        return f"{int(minute)} {int(hour)} * * *"

    @property
    def values(self) -> dict[str, str]:
        """Every parameter of the notebook."""
        return ({"config": self.config} if self.config else {}) | dict(self.parameters)

    @property
    def command(self) -> list[str]:
        """`kb run` with every parameter."""
        pairs = [part for name, value in self.values.items() for part in ("-p", name, value)]
        return [self.python, "-m", "kb", "run", self.notebook, *pairs]


EXAMPLE = Installation(
    parameters={"source": "/data/reports"},
    python="/opt/pdf-knowledge/.venv/bin/python",
    folder="/opt/pdf-knowledge",
    config="/opt/pdf-knowledge/config/pdf_knowledge.json",
)


def schedules(installation: Installation) -> dict[str, str]:
    """The text of each file, by its name in config/schedule/."""
    return {
        "crontab": _crontab(installation),
        f"{installation.name}.service": _service(installation),
        f"{installation.name}.timer": _timer(installation),
        "cronjob.yaml": _cronjob(installation),
        "airflow_dag.py": _airflow(installation),
    }


def _crontab(it: Installation) -> str:
    # In a crontab a % ends the command unless a backslash stands before it.
    line = f"cd {shlex.quote(it.folder)} && {shlex.join(it.command)}".replace("%", r"\%")
    heading = "# crontab -e, as the user who owns the store; a run that fails has a line on stderr, so cron sends mail"
    return f"{heading}\n{it.cron} {line} > /dev/null\n"


def _service(it: Installation) -> str:
    # systemd reads $ and % itself, and double quotes as its own.
    quoted = " ".join('"' + part.replace("\\", r"\\").replace('"', r"\"") + '"' for part in it.command)
    escaped = quoted.replace("%", "%%").replace("$", "$$")
    return f"""# /etc/systemd/system/{it.name}.service; the key: EMBEDDER_API_KEY=... in /etc/{SECRET}.env, mode 0600
[Unit]
Description=PDF knowledge base: {it.notebook}
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
User={it.user}
WorkingDirectory={it.folder}
EnvironmentFile=-/etc/{SECRET}.env
ExecStart={escaped}
Nice=10
NoNewPrivileges=true
PrivateTmp=true
"""


def _timer(it: Installation) -> str:
    return f"""# /etc/systemd/system/{it.name}.timer; systemctl enable --now {it.name}.timer
[Unit]
Description=PDF knowledge base: {it.notebook}, every day

[Timer]
OnCalendar=*-*-* {it.daily_at}:00
Persistent=true
RandomizedDelaySec=60

[Install]
WantedBy=timers.target
"""


def _cronjob(it: Installation) -> str:
    command = json.dumps(["python", *it.command[1:]])
    return f"""# kubectl apply -f cronjob.yaml; the key: a secret named {SECRET} with EMBEDDER_API_KEY
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {it.name}
spec:
  schedule: "{it.cron}"
  concurrencyPolicy: Forbid # one writer at a time
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 1
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: {it.notebook}
              image: {it.image}
              command: {command}
              workingDir: {json.dumps(it.folder)}
              envFrom:
                - secretRef: {{name: {SECRET}, optional: true}}
              volumeMounts:
                - {{name: data, mountPath: /data}}
              resources:
                requests: {{cpu: "1", memory: 2Gi}}
                limits: {{memory: 6Gi}}
          volumes:
            - name: data
              persistentVolumeClaim: {{claimName: {SECRET}-data}}
"""


def _airflow(it: Installation) -> str:
    notebook = f"{it.folder}/notebooks/{it.notebook}.ipynb"
    parameters = "".join(f"            {json.dumps(name)}: {json.dumps(value)},\n" for name, value in it.values.items())
    return f'''"""PDF knowledge base: {it.notebook} every day. Needs apache-airflow-providers-papermill."""

from datetime import datetime

from airflow import DAG
from airflow.providers.papermill.operators.papermill import PapermillOperator

with DAG(
    dag_id={json.dumps(it.name)},
    schedule={json.dumps(it.cron)},
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
) as dag:
    PapermillOperator(
        task_id={json.dumps(it.notebook)},
        input_nb={json.dumps(notebook)},
        output_nb="{it.folder}/runs/{it.notebook}/{{{{ ts_nodash }}}}.ipynb",
        parameters={{
{parameters}        }},
    )
'''
