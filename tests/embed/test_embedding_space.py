"""The embedding space: what may be compared with what."""

from __future__ import annotations

import numpy as np

from kb.embed import EmbeddingSpace
from kb.embed.space import CANARIES
from tests.embed.servers import vector_of


def space(model: str = "hash", dimension: int = 16, seed: str = "", noise: float = 0.0) -> EmbeddingSpace:
    vectors = np.stack([vector_of(text, dimension, seed) for text in CANARIES])
    vectors += np.random.default_rng(1).normal(0, noise, vectors.shape).astype(np.float32)
    return EmbeddingSpace(model, dimension, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_a_space_survives_json() -> None:
    assert EmbeddingSpace.from_json(space().to_json()).difference(space()) is None


def test_noise_of_precision_is_no_difference() -> None:
    assert space().difference(space(noise=1e-3)) is None


def test_another_dimension_is_named_with_both() -> None:
    assert space().difference(space(dimension=24)) == "'hash' has 16 dimensions, 'hash' has 24"


def test_another_model_behind_the_same_name_is_told_by_its_vectors() -> None:
    difference = space().difference(space(seed="other"))
    assert difference is not None
    assert "'hash' now" in difference


def test_another_name_for_the_same_model_is_no_difference() -> None:
    assert space().difference(space(model="org/hash")) is None
