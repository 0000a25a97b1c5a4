"""Room for connections."""

from __future__ import annotations

import sys

__all__ = ["allow_connections"]

# Each is an open file, of which a process has 1,024 on most systems until it asks for more.
OPEN_FILES = 65_536


def allow_connections() -> None:
    """Asks for as many open files as the system gives unasked; Windows counts none."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
