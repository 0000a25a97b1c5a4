"""A bar with rate and remaining time, for anything that draws `Progress`."""

from __future__ import annotations

import time

import ipywidgets as widgets

from kb.types import Progress
from kb.widgets.parts import row

__all__ = ["ProgressBar"]


class ProgressBar(widgets.Box):  # type: ignore[misc]
    """`note` may be called from a thread, `refresh` only on the kernel's loop."""

    def __init__(self) -> None:
        self._progress = Progress(0, 0, "")
        self._started = time.monotonic()
        self.bar = widgets.IntProgress(0, min=0, max=1, layout=widgets.Layout(width="16rem"))
        self.state = widgets.Label("", layout=widgets.Layout(width="auto"))
        super().__init__([row(self.bar, self.state)])
        self.layout.display = "none"

    def begin(self) -> None:
        """Shows an empty bar."""
        self._progress, self._started = Progress(0, 0, "starting"), time.monotonic()
        self.refresh()
        self.layout.display = "flex"

    def end(self) -> None:
        """Hides it."""
        self.layout.display = "none"

    def note(self, progress: Progress) -> None:
        """How far the work is."""
        self._progress = progress

    def refresh(self) -> None:
        """Draws what was noted last."""
        progress = self._progress
        self.bar.max, self.bar.value = max(1, progress.total), progress.done
        self.state.value = describe(progress, time.monotonic() - self._started)


def describe(progress: Progress, seconds: float) -> str:
    """One line: how far, how fast, how long still."""
    parts = [f"{progress.stage} {progress.done} of {progress.total}" if progress.total else progress.stage]
    if progress.detail:
        parts.append(progress.detail)
    if progress.passages and seconds > 1:
        parts.append(f"{progress.passages / seconds:.0f} passages/s")
    if progress.seconds_left is not None:
        parts.append(f"about {_duration(progress.seconds_left)} left")
    elif 0 < progress.done < progress.total:
        parts.append(f"about {_duration(seconds * (progress.total - progress.done) / progress.done)} left")
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
