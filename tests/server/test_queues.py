"""How many batches a model computes at once, and with how many threads each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import make_embedder

from server.config import ServerConfig, parse_arguments
from server.loading import load_model
from server.metrics import Metrics
from server.queues import queues


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embedder(tmp_path_factory.mktemp("queues"))


def load(folder: Path, *options: str) -> tuple[Any, ServerConfig]:
    config = parse_arguments(["--model", str(folder), "--device", "cpu", *options])
    return load_model(config.models[0], config, "cpu"), config


@pytest.mark.parametrize(
    ("options", "alone", "expected"),
    [
        ([], True, min(4, torch.get_num_threads())),
        ([], False, 1),  # beside replicas
        (["--batches-at-once", "3"], True, 3),
    ],
)
def test_a_cpu_computes_several_batches_at_once(folder: Path, options: list[str], alone: bool, expected: int) -> None:
    made = queues(*load(folder, *options), Metrics(), alone=alone)
    assert len(made) == expected
    assert {batcher.budget for batcher in made} == {2048}
    for batcher in made:
        batcher.close()


def test_they_share_the_threads_and_leave_those_of_others(folder: Path) -> None:
    model, config = load(folder, "--batches-at-once", "2")
    threads: list[int] = []

    def forward(batch: Sequence[Sequence[int]]) -> np.ndarray:
        threads.append(torch.get_num_threads())
        return np.zeros((len(batch), 1), np.float32)

    model.forward = forward
    before = torch.get_num_threads()
    made = queues(model, config, Metrics(), alone=True)
    threads.clear()

    async def ask() -> None:
        await asyncio.gather(*(batcher.submit([[1, 2, 3]]) for batcher in made))

    asyncio.run(ask())
    for batcher in made:
        batcher.close()
    assert threads == [max(1, before // 2)] * 2
    assert torch.get_num_threads() == before
