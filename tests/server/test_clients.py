"""Clients that users have: litellm by each prefix that reaches a server like ours."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from server_running import MODEL, RunningServer

TEXTS = ["Operating margin fell.", "第一季度利润下降", "a"]


@pytest.fixture
def plain(server: RunningServer) -> np.ndarray:
    return np.array([item["embedding"] for item in server.embed(TEXTS).json()["data"]])


@pytest.mark.parametrize("prefix", ["openai", "hosted_vllm", "infinity", "litellm_proxy"])
def test_litellm_gets_the_vectors(
    server: RunningServer, plain: np.ndarray, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm

        answer: Any = litellm.embedding(
            model=f"{prefix}/{MODEL}", input=TEXTS, api_base=f"{server.url}/v1", api_key="none"
        )
        clients = litellm.in_memory_llm_clients_cache.cache_dict
        for client in clients.values():  # litellm keeps them open for ever
            client.close()
        clients.clear()
    assert np.allclose([item["embedding"] for item in answer.data], plain, atol=1e-6)
    assert answer.usage.prompt_tokens == server.embed(TEXTS).json()["usage"]["prompt_tokens"]
