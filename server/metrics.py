"""What the server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
TOKENS = (16, 64, 256, 1024, 4096, 16_384, 65_536)


class Metrics:
    """One registry a server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        add = {"registry": self.registry, "namespace": "kb_embed"}
        self.requests = Counter("requests", "Requests by route and status", ["route", "status"], **add)  # type: ignore[arg-type]
        self.request_seconds = Histogram("request_seconds", "Whole requests", ["route"], buckets=SECONDS, **add)  # type: ignore[arg-type]
        self.inputs = Counter("inputs", "Texts embedded", **add)  # type: ignore[arg-type]
        self.tokens = Counter("tokens", "Tokens run, real and with padding", ["kind"], **add)  # type: ignore[arg-type]
        self.queue_seconds = Histogram("queue_seconds", "Waiting before the forward pass", buckets=SECONDS, **add)  # type: ignore[arg-type]
        self.forward_seconds = Histogram("forward_seconds", "Forward passes", buckets=SECONDS, **add)  # type: ignore[arg-type]
        self.batch_inputs = Histogram("batch_inputs", "Texts of a batch", buckets=SIZES, **add)  # type: ignore[arg-type]
        self.batch_tokens = Histogram("batch_tokens", "Padded tokens of a batch", buckets=TOKENS, **add)  # type: ignore[arg-type]
        self.queue_tokens = Gauge("queue_tokens", "Tokens waiting", **add)  # type: ignore[arg-type]
        self.rejected = Counter("rejected", "Requests refused for load", ["reason"], **add)  # type: ignore[arg-type]
        self.cancelled = Counter("cancelled", "Texts dropped because their client went away", **add)  # type: ignore[arg-type]
        self.truncated = Counter("truncated", "Texts cut because they were asked to be", **add)  # type: ignore[arg-type]
        self.oom_retries = Counter("oom_retries", "Batches halved because memory ran out", **add)  # type: ignore[arg-type]

    def observe_batch(self, inputs: int, real: int, padded: int, seconds: float) -> None:
        """A batch that went through the model."""
        self.inputs.inc(inputs)
        self.tokens.labels("real").inc(real)
        self.tokens.labels("padded").inc(padded)
        self.forward_seconds.observe(seconds)
        self.batch_inputs.observe(inputs)
        self.batch_tokens.observe(padded)

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
