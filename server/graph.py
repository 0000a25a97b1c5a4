"""A network recorded as a graph of TorchScript, which computes without Python.

A forward pass is some hundred operations, after each of which its thread waits for Python's lock. Beside an event loop
that answers requests a batch of 8 questions took as long as one of 32: 40 ms (all-MiniLM-L6-v2 in bfloat16, 2 cores).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from server.unpadded import Layout

__all__ = ["Graph", "can_be_recorded", "record"]


class Graph:
    """What the network computes, of features as `Unpadded` makes them."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def __call__(self, features: dict[str, Any]) -> dict[str, Any]:
        """Adds `token_embeddings` to the features."""
        embeddings = self._graph(features["input_ids"], features["position_ids"], *features["layout"])
        return {**features, "token_embeddings": embeddings}


class _Network(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor, *layout: torch.Tensor) -> torch.Tensor:
        features = {"input_ids": input_ids, "position_ids": position_ids, "layout": Layout(*layout)}
        embeddings: torch.Tensor = self.network(features)["token_embeddings"]
        return embeddings


def can_be_recorded(network: Any) -> bool:
    """Whether it computes the same for texts of every length: some change how positions turn in long ones."""
    rotary = getattr(network.config, "rope_parameters", None) or {}
    return bool(rotary.get("rope_type", "default") == "default")


def record(network: torch.nn.Module, features: dict[str, Any]) -> Graph:
    """The graph of what it computes for these features; others may have other sizes. Raises what a network raises that
    cannot be recorded."""
    with warnings.catch_warnings(), _transformers_is_silent(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that it is deprecated, and what of the sizes is taken for constant
        inputs = (features["input_ids"], features["position_ids"], *features["layout"])
        trace: Any = torch.jit.trace  # which has no types
        return Graph(trace(_Network(network).eval(), inputs, check_trace=False))


@contextmanager
def _transformers_is_silent() -> Iterator[None]:
    """Recording looks at every property of a network, one of which warns that it is not trained here."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
