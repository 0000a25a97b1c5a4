"""Whether a person is at this notebook, or a scheduler runs it."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["can_be_asked", "someone_is_there"]


def someone_is_there() -> bool:
    """True in a notebook that a person has open, and behind Voila; papermill and nbconvert run cells for nobody."""
    return can_be_asked() or os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")


def can_be_asked() -> bool:
    """True where a cell can ask its user for input, as in JupyterLab."""
    from IPython import get_ipython

    shell: Any = get_ipython()
    kernel = getattr(shell, "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))
