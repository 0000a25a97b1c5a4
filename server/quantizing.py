"""Eight-bit weights for ONNX and OpenVINO, in a copy of the model's folder, without asking any hub for data."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from server.config import ServerConfig
from server.loading import load_model
from server.model import EmbeddingModel

__all__ = ["write_int8"]

CALIBRATION_TEXTS = 64


def write_int8(config: ServerConfig, folder: Path, texts: Sequence[str]) -> str:
    """Quantises the model for the back end in the configuration; the name of the file to give as --weights."""
    [source] = config.models
    if not source.is_local:
        raise ValueError(f"{source.path} is not a folder; download the model first")
    model = load_model(source, config, "cpu")
    if not isinstance(model, EmbeddingModel):
        raise ValueError(f"{model.name} is a reranker")
    shutil.copytree(source.path, folder, dirs_exist_ok=True)
    return _onnx(model, folder) if config.backend == "onnx" else _openvino(model, folder, texts)


def _onnx(model: EmbeddingModel, folder: Path) -> str:
    from sentence_transformers.backend import export_dynamic_quantized_onnx_model

    machine = "arm64" if platform.machine() in ("arm64", "aarch64") else "avx512_vnni"
    export_dynamic_quantized_onnx_model(model.transformer, machine, str(folder), file_suffix="int8")
    return "onnx/model_int8.onnx"


def _openvino(model: EmbeddingModel, folder: Path, texts: Sequence[str]) -> str:
    """Static: activations are scaled by what these texts make of them."""
    import nncf
    import openvino

    network = cast("Any", model.transformer[0]).auto_model.model
    names = {name for tensor in network.inputs for name in tensor.get_names()}
    items = [_inputs(model, text, names) for text in texts[:CALIBRATION_TEXTS]]
    quantized = nncf.quantize(network, nncf.Dataset(items), model_type=nncf.ModelType.TRANSFORMER)
    file = folder / "openvino" / "openvino_model_int8.xml"
    file.parent.mkdir(exist_ok=True)
    openvino.save_model(quantized, file)
    return f"openvino/{file.name}"


def _inputs(model: EmbeddingModel, text: str, names: set[str]) -> dict[str, Any]:
    [ids] = model.tokenizer.encode_cut([text], model.max_tokens)
    ones = np.ones((1, len(ids)), np.int64)
    inputs = {"input_ids": np.array([ids], np.int64), "attention_mask": ones, "token_type_ids": 0 * ones}
    return {name: value for name, value in inputs.items() if name in names}
