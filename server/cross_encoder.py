"""A cross-encoder: reads a query and a document together, and says how well they fit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from server.model import longest, pad
from server.tokenizing import Encoded, TextTokenizer

__all__ = ["CrossEncoderModel"]


class CrossEncoderModel:
    """`tokenizer` and `forward` may be used from many threads."""

    kind: Literal["rerank"] = "rerank"
    pads: Literal[True] = True  # its network reads the first place of each row

    def __init__(self, names: tuple[str, ...], encoder: CrossEncoder, dtype: torch.dtype) -> None:
        labels = int(getattr(encoder[0].config, "num_labels", 1))
        if labels != 1:
            raise ValueError(f"it classifies pairs into {labels} kinds; a reranker gives one score")
        self.names = names
        self.provenance: dict[str, Any] = {}
        self.dtype = dtype
        self.tokenizer = TextTokenizer(encoder.tokenizer)
        self.max_tokens = longest(encoder)
        self.transformer = encoder
        self._activation = encoder.activation_fn or torch.nn.Identity()
        self._padding_id = int(encoder.tokenizer.pad_token_id or 0)
        self._has_segments = "token_type_ids" in encoder.tokenizer.model_input_names

    @property
    def name(self) -> str:
        """The name it is listed by."""
        return self.names[0]

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self.transformer.device)

    @property
    def card(self) -> dict[str, Any]:
        """What is particular to it in /v1/models: nothing."""
        return {}

    def forward(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Scores of pairs, after the model's own activation: float32 (len(batch), 1); higher is better."""
        features: dict[str, Any] = pad(batch, self._padding_id, self.transformer.device)
        if self._has_segments:
            segments = np.zeros(tuple(features["input_ids"].shape), np.int64)
            mask = features["attention_mask"].cpu().numpy().astype(bool)
            segments[mask] = np.fromiter(chain.from_iterable(map(_segments, batch)), np.int64)
            features["token_type_ids"] = torch.from_numpy(segments).to(self.transformer.device)
        with torch.inference_mode():
            for module in self.transformer:
                features = module(features)
            scores = self._activation(features["scores"].float())
        result: NDArray[np.float32] = scores.reshape(len(batch), -1)[:, :1].cpu().numpy()
        return result


def _segments(item: Sequence[int]) -> Sequence[int]:
    return item.type_ids if isinstance(item, Encoded) and item.type_ids is not None else [0] * len(item)
