"""One server with the packaged model for all of these tests, and litellm for those that ask through it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from server_running import RunningServer, start_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """litellm, without its list of prices from the internet. It keeps clients open for ever, which would be warnings of
    any later test: here they end with the test."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm

        yield litellm
        clients = litellm.in_memory_llm_clients_cache.cache_dict
        while clients:
            clients.popitem()[1].close()
