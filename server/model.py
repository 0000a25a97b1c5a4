"""A sentence-transformers model, in the best precision that changes nothing, tokenised apart from the forward pass."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from server.config import ModelSource, ServerConfig

__all__ = ["EmbeddingModel", "load_model"]

logger = logging.getLogger(__name__)

CANARIES = (
    "What drove operating margin in 2022?",
    "The committee met on 4 May and approved the minutes of the previous meeting.",
    "Übersicht über die Änderungen der Verordnung",
    "第一季度利润下降",
    "def main() -> None: print(1 / 3)",
)
# Below this a lower precision changes rankings; bfloat16 on CPUs with AMX gives 0.99997 (DESIGN, decision 8).
LEAST_COSINE = 0.999


class EmbeddingModel:
    """`tokenize` may be called from many threads, `embed` from one at a time."""

    def __init__(self, source: ModelSource, transformer: SentenceTransformer, dtype: torch.dtype) -> None:
        self.names = source.names
        self.dtype = dtype
        self._transformer = transformer
        self._tokenizer = _plain_tokenizer(transformer)
        self._padding_id = int(transformer.tokenizer.pad_token_id or 0)
        self.max_tokens = int(transformer.max_seq_length or transformer.tokenizer.model_max_length)
        self.vocabulary = self._tokenizer.get_vocab_size()
        self.dimension = int(transformer.get_embedding_dimension() or 0)

    @property
    def name(self) -> str:
        """The name it is listed by."""
        return self.names[0]

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self._transformer.device)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included; done in Rust without the GIL, nothing cut."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def embed(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors of token ids: float32 (len(batch), dimension), as the model's own modules make them."""
        lengths = np.fromiter(map(len, batch), np.int64, len(batch))
        attention_mask = np.arange(lengths.max()) < lengths[:, None]
        input_ids = np.full(attention_mask.shape, self._padding_id, np.int64)
        input_ids[attention_mask] = np.fromiter(chain.from_iterable(batch), np.int64, int(lengths.sum()))
        device = self._transformer.device
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(input_ids).to(device),
            "attention_mask": torch.from_numpy(attention_mask.astype(np.int64)).to(device),
        }
        with torch.inference_mode():
            for module in self._transformer:
                features = _in_float32(module(features))
        result: NDArray[np.float32] = features["sentence_embedding"].cpu().numpy()
        return result


def _in_float32(features: dict[str, Any]) -> dict[str, Any]:
    """Only the network itself runs in low precision: pooling and normalising in it would cost digits for no time."""
    return {
        name: value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in features.items()
    }


def _plain_tokenizer(transformer: SentenceTransformer) -> Any:
    """A copy of the model's fast tokenizer that neither cuts nor pads."""
    from tokenizers import Tokenizer

    plain = Tokenizer.from_str(transformer.tokenizer.backend_tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    return plain


def load_model(source: ModelSource, config: ServerConfig) -> EmbeddingModel:
    """Loads, picks the precision, checks it on canary texts against float32, and warms up."""
    if source.is_local:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformer = SentenceTransformer(
        source.path,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
        local_files_only=source.is_local,
        model_kwargs={"use_safetensors": True, "dtype": torch.float32},
    )
    transformer.eval()
    model = EmbeddingModel(source, transformer, torch.float32)
    wanted = _wanted_dtype(config.dtype, transformer.device)
    if wanted is not torch.float32:
        model = _in_precision(model, source, transformer, wanted, forced=config.dtype != "auto")
    model.embed(model.tokenize(CANARIES))
    return model


def _wanted_dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.bfloat16
    return torch.float32


def _cpu_has_bfloat16() -> bool:
    """AMX or AVX512-BF16; elsewhere bfloat16 is emulated and slower than float32."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def _in_precision(
    model: EmbeddingModel, source: ModelSource, transformer: SentenceTransformer, dtype: torch.dtype, *, forced: bool
) -> EmbeddingModel:
    ids = model.tokenize(CANARIES)
    exact = _unit(model.embed(ids))
    transformer[0].to(dtype)
    lower = EmbeddingModel(source, transformer, dtype)
    cosine = float((exact * _unit(lower.embed(ids))).sum(1).min())
    if cosine >= LEAST_COSINE or forced:
        logger.info("%s: %s, cosine to float32 %.5f", source.names[0], dtype, cosine)
        return lower
    logger.warning("%s: %s gives cosine %.5f to float32, so float32 is used", source.names[0], dtype, cosine)
    return EmbeddingModel(source, transformer.to(torch.float32), torch.float32)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
