"""Texts to vectors through litellm, at any OpenAI-compatible endpoint."""

from kb.embed.cache import EmbeddingCache
from kb.embed.embedder import Embedder
from kb.embed.open_cache import open_cache
from kb.embed.profile import EndpointProfile
from kb.embed.reranker import Reranker
from kb.embed.results import EmbedderUsage, EmbeddingBatch
from kb.embed.route import load_litellm
from kb.embed.space import EmbeddingSpace
from kb.embed.tokens import TokenCounter

__all__ = [
    "Embedder",
    "EmbedderUsage",
    "EmbeddingBatch",
    "EmbeddingCache",
    "EmbeddingSpace",
    "EndpointProfile",
    "Reranker",
    "TokenCounter",
    "load_litellm",
    "open_cache",
]
