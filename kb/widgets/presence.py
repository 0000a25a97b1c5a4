"""Whether a person is at this notebook, or a scheduler runs it."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["someone_is_there"]


def someone_is_there() -> bool:
    """True in a notebook that can ask its user for input, and behind Voila; papermill and nbconvert do neither."""
    from IPython import get_ipython

    if os.environ.get("SERVER_SOFTWARE", "").startswith("voila/"):
        return True

    shell: Any = get_ipython()
    kernel = getattr(shell, "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))
