"""One server with the packaged model for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from server_running import RunningServer, start_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()
