"""A sentence-transformers model whose parts run apart: tokenising and forward passes in threads of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from server.graph import can_be_recorded, record
from server.matryoshka import declared_dimensions
from server.prompts import Prompts
from server.tokenizing import Encoded, TextTokenizer
from server.unpadded import unpadded

__all__ = ["EmbeddingModel", "longest", "pad"]

MOST_TOKENS = 131_072  # of models that have no positions to count
MOST_RECORDED_DIFFERENCE = 1e-3  # of numbers, most of them below 1; the same operations give the same ones


class EmbeddingModel:
    """`tokenizer` and `forward` may be used from many threads."""

    kind: Literal["embedding"] = "embedding"

    def __init__(self, names: tuple[str, ...], transformer: SentenceTransformer, dtype: torch.dtype) -> None:
        self.names = names
        self.provenance: dict[str, Any] = {}
        self.dtype = dtype
        self.tokenizer = TextTokenizer(transformer.tokenizer)
        self.max_tokens = longest(transformer)
        # An id beyond the embeddings would end a GPU for good.
        self.vocabulary = min(self.tokenizer.size, getattr(transformer[0].config, "vocab_size", self.tokenizer.size))
        self.prompts = Prompts(
            {name: text or "" for name, text in transformer.prompts.items()}, transformer.default_prompt_name
        )
        self.default_dimensions: int | None = transformer.truncate_dim
        transformer.truncate_dim = None
        self.dimension = int(transformer.get_embedding_dimension() or 0)
        transformer.truncate_dim = self.default_dimensions  # for whoever looks at the same transformer next
        declared = declared_dimensions(transformer[0].config, self.dimension)
        self.dimensions = () if declared is None and self.default_dimensions else declared
        self.pools_prompts = all(getattr(module, "include_prompt", True) for module in transformer)
        self.pooling = [str(module.pooling_mode) for module in transformer if hasattr(module, "pooling_mode")]
        self.transformer = transformer
        self._unpadded = unpadded(transformer, dtype)
        self._stages: list[Callable[[dict[str, Any]], dict[str, Any]]] = list(transformer)
        self._padding_id = int(transformer.tokenizer.pad_token_id or 0)

    @property
    def name(self) -> str:
        """The name it is listed by."""
        return self.names[0]

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self.transformer.device)

    @property
    def pads(self) -> bool:
        """Whether short texts of a batch take the time of its longest."""
        return self._unpadded is None

    @property
    def card(self) -> dict[str, Any]:
        """What is particular to it in /v1/models."""
        return {
            "dimension": self.default_dimensions or self.dimension,
            "dimensions": None if self.dimensions is None else list(self.dimensions),
            "prompts": dict(self.prompts.texts),
            "default_prompt": self.prompts.default,
            "pooling": self.pooling,
        }

    def forward(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors of token ids: float32 (len(batch), dimension), as the model's own modules make them."""
        if self.pools_prompts:
            return self._run(batch)
        return self._run_by_prompt(batch)

    def record(self, samples: Sequence[Sequence[int]]) -> None:
        """Lets the network compute as a graph, where it gives the same vectors then. Raises what a network raises that
        cannot be recorded, and ValueError where its vectors are others; it computes as before then."""
        if self._unpadded is None:
            return
        if not can_be_recorded(self.transformer[0]):
            raise ValueError("its positions turn otherwise in long texts")
        features = self._unpadded.features(sorted(samples, key=len, reverse=True))
        expected = [self.forward([sample]) for sample in samples]
        network, self._stages[0] = self._stages[0], record(self.transformer[0], features)
        try:
            if not np.allclose([self.forward([sample]) for sample in samples], expected, atol=MOST_RECORDED_DIFFERENCE):
                raise ValueError("the graph gives other vectors")
        except Exception:
            self._stages[0] = network
            raise

    def _run_by_prompt(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """For pooling that leaves the prompt out, which knows one length of prompt for a whole batch."""
        lengths = [item.prompt_tokens if isinstance(item, Encoded) else 0 for item in batch]
        vectors = np.empty((len(batch), self.dimension), np.float32)
        for length in set(lengths):
            rows = [row for row, other in enumerate(lengths) if other == length]
            vectors[rows] = self._run([batch[row] for row in rows], prompt_length=length)
        return vectors

    def _run(self, batch: Sequence[Sequence[int]], *, prompt_length: int = 0) -> NDArray[np.float32]:
        if self._unpadded is None:
            return self._vectors(pad(batch, self._padding_id, self.transformer.device), prompt_length)
        order = sorted(range(len(batch)), key=lambda row: -len(batch[row]))
        features = self._unpadded.features([batch[row] for row in order])
        vectors = np.empty((len(batch), self.dimension), np.float32)
        vectors[order] = self._vectors(features, prompt_length)[: len(batch)]
        return vectors

    def _vectors(self, features: dict[str, Any], prompt_length: int) -> NDArray[np.float32]:
        if prompt_length:
            features["prompt_length"] = prompt_length
        with torch.inference_mode():
            for module in self._stages:
                features = _in_float32(module(features))
        result: NDArray[np.float32] = features["sentence_embedding"].cpu().numpy()
        return result


def longest(encoder: Any) -> int:
    """How many tokens a model reads: what its author says, within the positions it has. A tokenizer that was told
    nothing says 10^30."""
    said = encoder.max_seq_length or encoder.tokenizer.model_max_length
    positions = getattr(encoder[0].config, "max_position_embeddings", None) or MOST_TOKENS
    return int(min(said, positions))


def pad(batch: Sequence[Sequence[int]], padding_id: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Token ids and their mask, int64 (len(batch), longest), padded at the right."""
    lengths = np.fromiter(map(len, batch), np.int64, len(batch))
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, padding_id, np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(batch), np.int64, int(lengths.sum()))
    return {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)).to(device),
    }


def _in_float32(features: dict[str, Any]) -> dict[str, Any]:
    """Only the network itself runs in low precision: pooling and normalising in it would cost digits for no time."""
    return {
        name: value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in features.items()
    }
