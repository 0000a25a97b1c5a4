"""Clients that users have: litellm by each prefix that reaches a server like ours, LangChain, LlamaIndex."""

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
def test_litellm_gets_the_vectors(server: RunningServer, plain: np.ndarray, prefix: str, litellm: Any) -> None:
    answer = litellm.embedding(model=f"{prefix}/{MODEL}", input=TEXTS, api_base=f"{server.url}/v1", api_key="none")
    assert np.allclose([item["embedding"] for item in answer.data], plain, atol=1e-6)
    assert answer.usage.prompt_tokens == server.embed(TEXTS).json()["usage"]["prompt_tokens"]


def test_langchain_gets_the_vectors(server: RunningServer, plain: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_openai import OpenAIEmbeddings

        # Without the check it sends texts; with it, token ids of a tokenizer that is not the model's.
        client = OpenAIEmbeddings(
            model=MODEL, base_url=f"{server.url}/v1", api_key="none", check_embedding_ctx_length=False
        )
        assert np.allclose(client.embed_documents(TEXTS), plain, atol=1e-6)
        assert np.allclose(client.embed_query(TEXTS[0]), plain[0], atol=1e-6)
        client.client._client.close()


def test_llama_index_gets_the_vectors(server: RunningServer, plain: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from llama_index.embeddings.openai_like import OpenAILikeEmbedding

        client = OpenAILikeEmbedding(model_name=MODEL, api_base=f"{server.url}/v1", api_key="none")
        assert np.allclose(client.get_text_embedding_batch(TEXTS), plain, atol=1e-6)
        assert np.allclose(client.get_query_embedding(TEXTS[0]), plain[0], atol=1e-6)
        client._get_client().close()
