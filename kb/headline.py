"""The plain error of a scheduled run at the top of its notebook, whichever cell fails."""

from __future__ import annotations

from functools import cache
from typing import Any

from kb.presence import someone_is_there

__all__ = ["make_room"]


@cache
def make_room() -> None:
    """Keeps a place in the output of the first cell that does something, and fills it where a later one fails.

    papermill's own line on top says only that there was an error, and where.
    """
    from IPython import get_ipython
    from IPython.display import DisplayHandle

    shell: Any = get_ipython()
    if shell is None or someone_is_there():
        return
    place: Any = DisplayHandle()  # type: ignore[no-untyped-call]
    place.display({"text/plain": ""}, raw=True)
    here = shell.execution_count

    def fill(result: Any) -> None:
        error = result.error_before_exec or result.error_in_exec
        if error is not None and result.execution_count != here:
            place.update({"text/plain": str(error) or type(error).__name__}, raw=True)

    shell.events.register("post_run_cell", fill)
