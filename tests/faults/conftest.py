"""What the fault tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kb.embed.route import load_litellm


@pytest.fixture(scope="session", autouse=True)
def _litellm_is_imported() -> None:
    """Importing it takes seconds, which no test that measures time may pay for."""
    load_litellm()


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """What a test starts, stopped after it."""
    with ExitStack() as stack:
        yield stack
