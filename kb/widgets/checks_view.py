"""The doctor's checks, turning green one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import ipywidgets as widgets

from kb.health import Check
from kb.html import render
from kb.widgets.background import in_background

__all__ = ["ChecksView"]


class ChecksView(widgets.HTML):  # type: ignore[misc]
    """`checks` are those made so far."""

    def __init__(self) -> None:
        super().__init__()
        self.checks: list[Check] = []

    @property
    def healthy(self) -> bool:
        """Whether there were checks, and none failed."""
        return bool(self.checks) and all(check.status != "fail" for check in self.checks)

    async def run(self, diagnose: Callable[[], Iterator[Check]]) -> None:
        """Shows each check as it is made."""
        self.checks = []
        shown = -1

        def work() -> None:
            for check in diagnose():
                self.checks.append(check)

        def refresh() -> None:
            nonlocal shown
            if shown != len(self.checks):
                shown = len(self.checks)
                self._draw("Checking …", "muted")

        try:
            await in_background(work, refresh)
        except BaseException:
            self.value = ""
            raise
        failures = sum(check.status == "fail" for check in self.checks)
        self._draw(f"{failures} failed" if failures else "All is well.", "bad" if failures else "good")

    def _draw(self, state: str, kind: str) -> None:
        self.value = render("checks.html", checks=list(self.checks), state=state, state_class=kind)
