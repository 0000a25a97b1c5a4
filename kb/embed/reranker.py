"""Reranking through litellm: a cross-encoder behind an endpoint reads question and passage together."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from kb.config import EmbedderSettings, RerankerSettings
from kb.embed.failures import failure_of
from kb.embed.route import load_litellm
from kb.embed.wire import WireClient, headers_of, recording
from kb.errors import EndpointError, EndpointModelError

__all__ = ["Reranker"]


class Reranker:
    """One endpoint that answers POST {base_url}/rerank, as Jina's, Cohere's, vLLM's, TEI's and the bundled one do."""

    def __init__(self, settings: RerankerSettings) -> None:
        if settings.base_url is None:
            raise ValueError("a reranker needs a base_url")
        self._settings = settings
        self._endpoint = EmbedderSettings(
            base_url=settings.base_url,
            model=settings.model,
            api_key=settings.api_key,
            headers=settings.headers,
            timeout=settings.timeout,
        )
        self._wire = WireClient(headers_of(self._endpoint), timeout=settings.timeout, connections=1)

    @property
    def candidates(self) -> int:
        """How many of the best hits are reranked."""
        return self._settings.candidates

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """A score for each text, higher is better. Raises EndpointError."""
        litellm = load_litellm()
        handler = importlib.import_module("litellm.llms.custom_httpx.http_handler")
        with recording(self._settings.timeout) as exchange:
            try:
                answer = litellm.rerank(
                    model=f"hosted_vllm/{self._settings.model}",
                    query=question,
                    documents=list(texts),
                    top_n=len(texts),
                    api_base=self._settings.base_url,
                    client=handler.HTTPHandler(client=self._wire),
                )
                scores = {int(result["index"]): float(result["relevance_score"]) for result in answer.results or ()}
            except Exception as error:  # litellm's classes mislead; what went over the wire tells
                raise _told(failure_of(exchange, error, self._endpoint, [question, *texts]).error) from None
        if scores.keys() != set(range(len(texts))):
            raise EndpointModelError(
                f"asked for the scores of {len(texts)} passages, it gave those of {len(scores)}",
                where=f"POST {exchange.url}",
                fix=f"See whether reranker.model ({self._settings.model!r}) is a cross-encoder.",
            )
        return [scores[index] for index in range(len(texts))]

    def close(self) -> None:
        """Closes the connection."""
        self._wire.close()


def _told(error: EndpointError) -> EndpointError:
    """The error with the reranker's keys in place of the embedder's."""
    return type(error)(
        error.what, where=error.where.replace("/embeddings", "/rerank"), fix=error.fix.replace("embedder.", "reranker.")
    )
