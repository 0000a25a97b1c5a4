"""What the fault tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """What a test starts, stopped after it."""
    with ExitStack() as stack:
        yield stack
