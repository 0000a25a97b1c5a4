"""Getting models ready: from disk or hub onto their devices, in the best precision that changes nothing, warmed up."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers.utils.logging import disable_progress_bar

from server.config import ModelSource, ServerConfig
from server.cross_encoder import CrossEncoderModel
from server.model import EmbeddingModel
from server.packing import pack
from server.provenance import provenance
from server.tokenizing import Encoded
from server.unpadded import can_be_unpadded, repad, unpad

disable_progress_bar()  # type: ignore[no-untyped-call]  # a log is no terminal

__all__ = [
    "LEAST_COSINE",
    "Model",
    "computes_in",
    "devices",
    "is_plain",
    "load_model",
]

Model = EmbeddingModel | CrossEncoderModel

logger = logging.getLogger(__name__)

HUB = os.environ.get("HF_ENDPOINT", "https://huggingface.co")

CANARIES = (
    "What drove operating margin in 2022?",
    "The committee met on 4 May and approved the minutes of the previous meeting.",
    "Übersicht über die Änderungen der Verordnung",
    "第一季度利润下降",
    "def main() -> None: print(1 / 3)",
)
# Below this a lower precision changes rankings; bfloat16 on CPUs with AMX gives 0.99997 (DESIGN, decision 8).
LEAST_COSINE = 0.999
# The same for the scores of cross-encoders, which a sigmoid puts between 0 and 1.
MOST_SCORE_DIFFERENCE = 0.02
# Of numbers of unit vectors in float32, which sums in another order change by a millionth or two.
MOST_UNPADDED_DIFFERENCE = 1e-5


def devices(asked: str | None) -> list[str | None]:
    """One replica for each: those named with commas between them, every GPU for `cuda` or where nothing is asked."""
    if asked in (None, "cuda") and torch.cuda.device_count() > 1:
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return list(asked.split(",")) if asked else [None]


def load_model(source: ModelSource, config: ServerConfig, device: str | None) -> Model:
    """Loads, picks the precision, checks it on canary texts against float32, and warms up."""
    if source.is_local:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    if not (source.is_local or _hub_has_an_address()):
        logger.warning("%s: %s has no address here; looking into the cache of earlier downloads", source.path, HUB)
    encoder = _load(source, config, device)
    exact = _exact(source, encoder, config)
    wanted = _wanted_dtype(config.dtype, encoder.device)
    model = exact if wanted is torch.float32 else _lowered(exact, encoder, source, config, wanted)
    if model.dtype is torch.float32:
        _pack(model.transformer, config)
    if config.compile:
        _network(model.transformer).compile(dynamic=True)  # which a fall-back to float32 has loaded anew
    if isinstance(model, EmbeddingModel):
        _record(model)
    canaries = _canaries(model)
    model.forward(canaries[:1])  # torch.compile makes a program of its own for a batch of one
    model.provenance = provenance(encoder, model.forward(canaries), backend=config.backend, asked=config.revision)
    return model


@cache
def _hub_has_an_address() -> bool:
    """Without one its client would try for minutes."""
    try:
        socket.getaddrinfo(urlsplit(HUB).hostname, None)
    except OSError:
        return False
    return True


def _load(source: ModelSource, config: ServerConfig, device: str | None) -> SentenceTransformer | CrossEncoder:
    kind = CrossEncoder if _is_cross_encoder(source) else SentenceTransformer
    weights: dict[str, Any] = {"file_name": config.weights} if config.weights else {}
    if config.backend == "torch":
        weights = {"dtype": torch.float32, "use_safetensors": not config.allow_pickle}
        if config.attention:
            weights["attn_implementation"] = config.attention
    encoder = kind(
        source.path,
        device=device,
        backend=config.backend,
        revision=config.revision,
        trust_remote_code=config.trust_remote_code,
        local_files_only=source.is_local or not _hub_has_an_address(),
        model_kwargs=weights,
    )
    if getattr(encoder.tokenizer, "backend_tokenizer", None) is None:
        raise ValueError(f"{source.path} has no fast tokenizer, which this server needs")
    encoder.eval()
    return encoder


def _is_cross_encoder(source: ModelSource) -> bool:
    """By what sentence-transformers wrote beside the model, else by the head that transformers gave it."""
    said = _settings(source, "config_sentence_transformers.json").get("model_type")
    if said:
        return bool(said == "CrossEncoder")
    if (Path(source.path) / "modules.json").is_file():
        return False
    architectures = _settings(source, "config.json").get("architectures") or [""]
    return bool(architectures[0].endswith("ForSequenceClassification"))


def _settings(source: ModelSource, name: str) -> dict[str, Any]:
    file = Path(source.path) / name
    if not source.is_local:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            file = Path(hf_hub_download(source.path, name, local_files_only=not _hub_has_an_address()))
        except EntryNotFoundError:
            return {}
    return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}


def _exact(source: ModelSource, encoder: SentenceTransformer | CrossEncoder, config: ServerConfig) -> Model:
    """The model in float32; without padding where torch computes on a CPU by itself and the vectors stay the same."""
    padded = _model(source, encoder, torch.float32)
    if isinstance(encoder, SentenceTransformer) and is_plain(encoder, config) and not config.attention:
        return _unpadded_if_same(source, encoder, padded)
    return padded


def _unpadded_if_same(source: ModelSource, encoder: SentenceTransformer, padded: Model) -> Model:
    if not can_be_unpadded(encoder):
        logger.info("%s: batches are padded, for its network or what follows it wants that", source.names[0])
        return padded
    samples = _samples(padded)
    expected = _unit(padded.forward(samples))
    attention = unpad(encoder)
    try:
        model = _model(source, encoder, torch.float32)
        difference = float(np.abs(_unit(model.forward(samples)) - expected).max())
        if difference <= MOST_UNPADDED_DIFFERENCE:
            return model
        reason = f"the vectors differ by {difference:.1e}"
    except Exception as error:  # whatever a network says to features that it was not made for
        reason = f"{type(error).__name__}: {error}"
    logger.info("%s: batches are padded, for without padding: %s", source.names[0], reason)
    repad(encoder, attention)
    return padded


def _record(model: EmbeddingModel) -> None:
    try:
        model.record(_samples(model))
    except Exception as error:  # whatever a network does that is no graph
        logger.info(
            "%s: computes in Python, for it cannot be recorded: %s: %s", model.name, type(error).__name__, error
        )


def _samples(model: Model) -> list[Sequence[int]]:
    """The canaries, and a text much longer than they are."""
    canaries = _canaries(model)
    long = list(chain.from_iterable(canaries)) * 4
    return [*canaries, long[: min(model.max_tokens, len(long))]]


def _model(source: ModelSource, encoder: SentenceTransformer | CrossEncoder, dtype: torch.dtype) -> Model:
    if isinstance(encoder, SentenceTransformer):
        return EmbeddingModel(source.names, encoder, dtype)
    return CrossEncoderModel(source.names, encoder, dtype)


def _network(encoder: SentenceTransformer | CrossEncoder) -> torch.nn.Module:
    """The transformer itself, which is all that runs in low precision or compiled."""
    network: torch.nn.Module = encoder[0]
    return network


def _wanted_dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if computes_in(torch.bfloat16, device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else torch.float32


def computes_in(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the hardware does, by AMX or AVX512 on CPUs; where it is emulated it is slower than float32."""
    if dtype is torch.float32:
        return True
    if device.type == "cuda":
        return dtype is torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return dtype is torch.float16
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    short = "bf16" if dtype is torch.bfloat16 else "fp16"
    return bool(capabilities.get(f"amx_{short}") or capabilities.get(f"avx512_{short}"))


def _lowered(
    exact: Model,
    encoder: SentenceTransformer | CrossEncoder,
    source: ModelSource,
    config: ServerConfig,
    dtype: torch.dtype,
) -> Model:
    """The model in a lower precision, or as it was where that would change its answers."""
    if config.backend != "torch":
        return exact
    expected = exact.forward(_canaries(exact))
    _network(encoder).to(dtype)
    if dtype is torch.bfloat16:
        _pack(encoder, config)
    lower = _model(source, encoder, dtype)
    same, difference = _compare(expected, lower.forward(_canaries(lower)))
    if same or config.dtype != "auto":
        logger.info("%s: %s, %s", source.names[0], dtype, difference)
        return lower
    logger.warning("%s: %s gives %s, so float32 is used", source.names[0], dtype, difference)
    return _exact(source, _load(source, config, str(encoder.device)), config)


def _pack(encoder: SentenceTransformer | CrossEncoder, config: ServerConfig) -> None:
    if is_plain(encoder, config):
        pack(_network(encoder))


def is_plain(encoder: SentenceTransformer | CrossEncoder, config: ServerConfig) -> bool:
    """Whether torch computes on a CPU by itself; what is compiled is made faster by the compiler."""
    return config.backend == "torch" and encoder.device.type == "cpu" and not config.compile


def _canaries(model: Model) -> list[list[int]] | list[Encoded]:
    if isinstance(model, CrossEncoderModel):
        return model.tokenizer.encode_pairs(CANARIES[0], CANARIES, limit=model.max_tokens)
    return model.tokenizer.encode_cut(CANARIES, model.max_tokens)


def _compare(exact: NDArray[np.float32], lower: NDArray[np.float32]) -> tuple[bool, str]:
    if exact.shape[1] == 1:
        difference = float(np.abs(exact - lower).max())
        return difference <= MOST_SCORE_DIFFERENCE, f"scores differ from float32 by {difference:.4f}"
    cosine = float((_unit(exact) * _unit(lower)).sum(1).min())
    return cosine >= LEAST_COSINE, f"cosine to float32 {cosine:.5f}"


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
