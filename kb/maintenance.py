"""The state of an installation on one page: health, runs over time, space, index, drift, a map."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kb.backup import Backup
from kb.charts import draw_map, draw_runs
from kb.collection_map import CollectionMap
from kb.drift import Drift
from kb.html import render
from kb.results import Status
from kb.shown import Shown
from kb.store import Run

__all__ = ["Maintenance"]


@dataclass(frozen=True, slots=True)
class Maintenance(Shown):
    """What was looked at, and what was done."""

    status: Status
    runs: Sequence[Run]
    space: Mapping[str, int]  # bytes of each table and of what lies beside the collection
    drift: Drift | None
    map: CollectionMap
    problem: str = ""  # why the endpoint could not be asked
    done: Sequence[str] = field(default=())
    backup: Backup | None = None

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Files that failed in the latest runs, each with its run, the latest first."""
        return [
            {"started_at": f"{run.started_at:%Y-%m-%d %H:%M}", **file}
            for run in self.runs
            for file in json.loads(run.report)["files"]
            if file["outcome"] == "failed"
        ]

    @property
    def runs_chart(self) -> str:
        """Documents, failures and speed over time, as SVG."""
        return draw_runs(self.runs)

    @property
    def map_chart(self) -> str:
        """The collection on a plane, as SVG."""
        return draw_map(self.map)

    def to_dict(self) -> dict[str, Any]:
        """The whole as data."""
        return {
            "status": self.status.to_dict(),
            "runs": [{"started_at": run.started_at.isoformat(), **json.loads(run.report)} for run in self.runs],
            "space": dict(self.space),
            "drift": self.drift.to_dict() if self.drift else None,
            "map": self.map.to_dict(),
            "problem": self.problem,
            "done": list(self.done),
            "backup": self.backup.to_dict() if self.backup else None,
        }

    def _repr_html_(self) -> str:
        return render("maintenance.html", state=self)

    def to_text(self) -> str:
        """The result where there is no HTML."""
        return "\n".join([*self.done, self.problem, str(self.status.to_dict())]).strip()
