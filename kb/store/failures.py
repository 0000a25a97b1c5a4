"""Whatever LanceDB or the file system raises, as one error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from kb.errors import KnowledgeBaseError, StoreError

__all__ = ["store_errors"]


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Whatever LanceDB or the file system raises, as a StoreError."""
    try:
        yield
    except KnowledgeBaseError:
        raise
    except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:
        raise StoreError(_first_line(error), where=uri, fix=_fix(str(error))) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _fix(message: str) -> str:
    lowered = message.lower()
    if "no space left" in lowered or "disk full" in lowered:
        return "Free some space; nothing that was committed is lost, run the same command again."
    if "permission denied" in lowered or "read-only" in lowered:
        return "Make the folder writable for this user, or set storage.uri to one that is."
    return "See whether storage.uri is right and whole; kb status reads it without changing it."
