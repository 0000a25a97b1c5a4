"""Progress of long work in a terminal: a bar with rate and remaining time, nothing where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kb.types import Progress as Step

__all__ = ["terminal_progress"]


@contextmanager
def terminal_progress() -> Iterator[Callable[[Step], None]]:
    """A function to draw with; the bar goes to standard error and away when done."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}"),
        TextColumn("{task.fields[detail]}", style="dim"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None, detail="", pace="")

        def draw(step: Step) -> None:
            bar.update(
                task,
                description=step.stage,
                completed=step.done,
                total=step.total,
                detail=step.detail,
                pace=step.pace,
            )

        yield draw
