"""The queues of a model on one device: how many batches run at once, how large they are, and how fast at first."""

from __future__ import annotations

import logging
import time
from functools import partial

import torch

from server.batching import LEAST_BUDGET, Batcher, Forward
from server.config import ServerConfig
from server.failures import is_out_of_memory
from server.loading import Model, is_plain
from server.metrics import Metrics

__all__ = ["fitting_budget", "measured_rate", "queues"]

logger = logging.getLogger(__name__)

# Questions wait for the batch that runs, and on a CPU larger ones compute nothing faster (all-MiniLM-L6-v2 in bfloat16,
# 2 cores, texts of 150 tokens: 95, 109, 97 a second in batches of 1,024, 2,048, 4,096). A GPU wants to be filled.
CPU_BATCH_TOKENS = 2_048
GPU_BATCH_TOKENS = 16_384
# Two threads that wait for each other after every layer compute less than two with a batch each (2 cores, by one batch
# at once and by two: 730 and 1,350 short texts a second in batches of 32, 1,440 and 2,000 in batches of 256, 115 and
# 147 long ones), and a question takes no longer (13 ms and 7). Of many batches Python would be in the way.
CPU_BATCHES_AT_ONCE = 4
RATE_TOKENS = 256


def queues(model: Model, config: ServerConfig, metrics: Metrics, *, alone: bool) -> list[Batcher]:
    """Threads with a queue each, which share the model and the CPU's threads; one where the model has replicas."""
    on_cpu = model.device == "cpu"
    budget = config.max_batch_tokens or (CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)
    if not on_cpu:  # where memory is scarce, and a full batch takes no time
        budget = fitting_budget(model.forward, budget, model.max_tokens)
    shares = is_plain(model.transformer, config)
    threads = torch.get_num_threads()
    at_once = config.batches_at_once or (min(CPU_BATCHES_AT_ONCE, threads) if shares and alone else 1)
    rate = measured_rate(model.forward, model.max_tokens) / at_once
    made = [
        Batcher(
            model.forward,
            max_batch_tokens=budget,
            metrics=metrics,
            name=model.name,
            pads=model.pads,
            # OpenMP keeps the number for each thread by itself.
            begin=partial(torch.set_num_threads, max(1, threads // at_once)) if shares else None,
        )
        for _ in range(at_once)
    ]
    for batcher in made:
        batcher.tokens_per_second = rate
    return made


def fitting_budget(forward: Forward, budget: int, max_tokens: int) -> int:
    """The budget of tokens, halved until a full batch of the longest texts goes through the model."""
    while True:
        length = min(max_tokens, budget)
        try:
            forward([[1] * length] * (budget // length))
            return budget
        except Exception as error:
            if not is_out_of_memory(error) or budget <= LEAST_BUDGET:
                raise
        budget //= 2
        logger.warning("out of memory while warming up: batches are of %d tokens", budget)


def measured_rate(forward: Forward, max_tokens: int) -> float:
    """Tokens a second of a small batch, for the first estimates of how long others will take: a model of billions of
    parameters on a CPU is slow, which must not be taken for hanging."""
    length = min(max_tokens, RATE_TOKENS // 2)
    started = time.perf_counter()
    forward([[1] * length] * 2)
    return 2 * length / max(time.perf_counter() - started, 1e-6)
