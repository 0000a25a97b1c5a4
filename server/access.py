"""Who may ask what."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from enum import Enum

__all__ = ["Access", "knows"]


class Access(Enum):
    """What a request needs to be let in."""

    OPEN = "nothing"
    LOOK = "a key"
    WORK = "a key, and a server that is loaded, not shutting down and not overloaded"


def knows(keys: Sequence[str], authorization: str | None) -> bool:
    """Whether an Authorization header carries one of the keys, in a time that tells nothing of them."""
    scheme, _, key = (authorization or "").partition(" ")
    given = key.strip().encode("latin-1")  # the bytes that came, which headers are read as
    matches = [hmac.compare_digest(given, known.encode()) for known in keys]
    return scheme.lower() == "bearer" and any(matches)
