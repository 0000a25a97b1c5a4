"""What the server counts, for Prometheus."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

if TYPE_CHECKING:
    from server.served import Served

__all__ = ["Metrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
TOKENS = (16, 64, 256, 1024, 4096, 16_384, 65_536)
MODEL_LABELS = ("model", "revision", "dtype", "backend", "device", "dimension")
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)


class Metrics:
    """One registry a server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("requests", "Requests by route, status and lane", "route", "status", "lane")
        self.rejected = self._counter("rejected", "Requests refused for load", "reason")
        self.inputs = self._counter("inputs", "Texts embedded")
        self.tokens = self._counter("tokens", "Tokens run, real and with padding", "kind")
        self.cancelled = self._counter(
            "cancelled", "Texts nobody waited for any more, by how far they had come", "stage"
        )
        self.truncated = self._counter("truncated", "Texts cut because they were asked to be")
        self.oom_retries = self._counter("oom_retries", "Batches halved because memory ran out")
        self.request_tokens = self._histogram("request_tokens", "Tokens of a request", TOKENS)
        self.request_seconds = self._histogram("request_seconds", "Whole requests", SECONDS, "route")
        self.tokenize_seconds = self._histogram("tokenize_seconds", "Tokenising a request", SECONDS)
        self.queue_seconds = self._histogram("queue_seconds", "A request's waiting for forward passes", SECONDS, "lane")
        self.forward_seconds = self._histogram("forward_seconds", "Forward passes", SECONDS)
        self.batch_inputs = self._histogram("batch_inputs", "Texts of a batch", SIZES)
        self.batch_tokens = self._histogram("batch_tokens", "Padded tokens of a batch", TOKENS)
        self.batch_padding = self._histogram("batch_padding_ratio", "Share of a batch that is padding", RATIOS)
        self.queue_tokens = self._gauge("queue_tokens", "Tokens waiting", "model")
        self.queue_requests = self._gauge("queue_requests", "Requests waiting", "model")
        self.oldest_queued_seconds = self._gauge("oldest_queued_seconds", "Longest waiting now", "model")
        self.tokens_per_second = self._gauge("tokens_per_second", "Real tokens a second while busy", "model")
        self.worker_up = self._gauge("worker_up", "Whether the model's threads work", "model")
        self.model_info = self._gauge("model_info", "What is served", *MODEL_LABELS)
        self.gpu_memory_bytes = self._gauge("gpu_memory_bytes", "GPU memory, in use and in all", "device", "kind")
        self.gpu_utilization_ratio = self._gauge("gpu_utilization_ratio", "Share of time the GPU is busy", "device")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="kb_embed", registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace="kb_embed", registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace="kb_embed", registry=self.registry, buckets=buckets)

    def observe_batch(self, inputs: int, real: int, padded: int, seconds: float) -> None:
        """A batch that went through the model."""
        self.inputs.inc(inputs)
        self.tokens.labels("real").inc(real)
        self.tokens.labels("padded").inc(padded)
        self.forward_seconds.observe(seconds)
        self.batch_inputs.observe(inputs)
        self.batch_tokens.observe(padded)
        self.batch_padding.observe(1 - real / padded)

    def observe_models(self, models: Iterable[Served]) -> None:
        """The gauges, as they are now."""
        for served in models:
            name, card = served.model.name, served.card
            self.queue_tokens.labels(name).set(served.queued_tokens)
            self.queue_requests.labels(name).set(served.queued_requests)
            self.oldest_queued_seconds.labels(name).set(served.oldest_queued_seconds)
            self.tokens_per_second.labels(name).set(served.tokens_per_second)
            self.worker_up.labels(name).set(served.is_alive)
            labels = [card.get("id" if label == "model" else label) for label in MODEL_LABELS]
            self.model_info.labels(*("" if label is None else label for label in labels)).set(1)
            self._observe_gpus(device for device in served.devices if device.startswith("cuda"))

    def _observe_gpus(self, devices: Iterable[str]) -> None:
        """Of those in use: asking any other would take memory there."""
        torch = sys.modules["torch"]  # loaded with the model, not for the sake of metrics
        for device in devices:
            free, total = torch.cuda.mem_get_info(device)
            self.gpu_memory_bytes.labels(device, "used").set(total - free)
            self.gpu_memory_bytes.labels(device, "total").set(total)
            try:
                self.gpu_utilization_ratio.labels(device).set(torch.cuda.utilization(device) / 100)
            except Exception:  # it needs nvidia-ml-py, no dependency of ours, and a part of a GPU (MIG) has none
                continue

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
