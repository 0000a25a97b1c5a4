"""How many texts in a request, and how many requests at once, suit the endpoint: measured where the curve bends."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from statistics import median
from typing import Any

import httpx

from kb.bundled import MODEL, bundled_server
from kb.config import EmbedderSettings
from kb.embed import Embedder
from kb.errors import EndpointError
from kb.html import render
from kb.shown import Shown
from kb.tune.charts import throughput
from kb.types import Progress

__all__ = ["BATCH_SIZES", "CONCURRENCIES", "EndpointTrial", "EndpointTuning", "gpu_memory", "tune_endpoint"]

BATCH_SIZES = (1, 8, 32, 64, 128)
CONCURRENCIES = (1, 2, 4, 8)
# More than this share of the best throughput is not worth larger batches, longer waits and more memory.
KNEE = 0.95
GPU_MEMORY = re.compile(r"^([\w:]*gpu[\w:]*mem[\w:]*(?:used|bytes)[\w:]*(?:\{[^}]*\})?) ([0-9.e+]+)", re.M | re.I)


@dataclass(frozen=True, slots=True)
class EndpointTrial:
    """One batch size at one concurrency. Times are of whole requests; `gpu_bytes` 0 where the endpoint tells none."""

    batch_size: int
    concurrency: int
    texts_per_second: float
    p50_ms: float
    p99_ms: float
    failed: int = 0
    gpu_bytes: float = 0.0
    dtype: str = ""


@dataclass(frozen=True)
class EndpointTuning(Shown):
    """Every trial. `advice` names the knee: the smallest load that gets nearly everything out of the endpoint."""

    endpoint: str
    trials: tuple[EndpointTrial, ...]

    @property
    def knee(self) -> EndpointTrial:
        """The trial with the fewest texts under way among those close to the best throughput."""
        sound = [trial for trial in self.trials if not trial.failed] or list(self.trials)
        best = max(trial.texts_per_second for trial in sound)
        close = [trial for trial in sound if trial.texts_per_second >= KNEE * best]
        return min(close, key=lambda trial: (trial.batch_size * trial.concurrency, trial.p99_ms))

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """The winning settings, as the configuration has them."""
        return {"embedder": {"batch_size": self.knee.batch_size, "concurrency": self.knee.concurrency}}

    @property
    def advice(self) -> str:
        """What to do, in one sentence."""
        knee = self.knee
        told = f"embedder.batch_size = {knee.batch_size}, embedder.concurrency = {knee.concurrency}"
        dtype = f", --dtype {knee.dtype}" if knee.dtype else ""
        return f"{told}{dtype}: {knee.texts_per_second:,.0f} texts a second, p99 {knee.p99_ms:,.0f} ms."

    def to_dict(self) -> dict[str, Any]:
        """The tuning as `kb tune endpoint --json` prints it."""
        trials = [asdict(trial) for trial in self.trials]
        return {"endpoint": self.endpoint, "trials": trials, "changes": self.changes, "advice": self.advice}

    def _repr_html_(self) -> str:
        return render("endpoint_tuning.html", tuning=self, picture=throughput(self.trials, self.knee))

    def to_text(self) -> str:
        """The result where there is no HTML."""
        return self.advice


def tune_endpoint(
    settings: EmbedderSettings,
    texts: Sequence[str],
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    concurrencies: Sequence[int] = CONCURRENCIES,
    dtypes: Sequence[str] = (),
    seconds: float = 3.0,
    draw: Callable[[Progress], None] = lambda _: None,
    show: Callable[[EndpointTuning], None] = lambda _: None,
) -> EndpointTuning:
    """Embeds `texts` over and over, `seconds` for each pair of batch size and concurrency.

    With `dtypes` it starts the bundled server for each of them and measures that. Raises EndpointError where the
    endpoint cannot be used at all; a pair that it refuses counts its failures.
    """
    trials: list[EndpointTrial] = []
    total = max(1, len(dtypes)) * len(batch_sizes) * len(concurrencies)
    name = "the bundled server" if dtypes else ", ".join(settings.base_urls)
    for dtype in dtypes or ("",):
        with _endpoint(settings, dtype) as measured:
            for concurrency in concurrencies:
                for batch_size in batch_sizes:
                    draw(Progress(len(trials), total, "measuring", f"{concurrency} x {batch_size} {dtype}".strip()))
                    changed = measured.model_copy(update={"batch_size": batch_size, "concurrency": concurrency})
                    trials.append(_measured(changed, texts, seconds, dtype))
                    show(EndpointTuning(name, tuple(trials)))
    return EndpointTuning(name, tuple(trials))


@contextmanager
def _endpoint(settings: EmbedderSettings, dtype: str) -> Iterator[EmbedderSettings]:
    """The endpoint itself, or a bundled server of this precision."""
    with bundled_server("--dtype", dtype) if dtype else nullcontext("") as url:
        yield EmbedderSettings(base_url=url, model=MODEL, timeout=settings.timeout) if url else settings


def _measured(settings: EmbedderSettings, texts: Sequence[str], seconds: float, dtype: str) -> EndpointTrial:
    """Threads that each send the next batch when the last one is answered, through the client that ingest uses."""
    source, lock = cycle(texts), threading.Lock()
    times: list[float] = []
    failures: list[EndpointError] = []

    def send(embedder: Embedder, until: float) -> None:
        while time.perf_counter() < until:
            with lock:
                batch = list(islice(source, settings.batch_size))
            started = time.perf_counter()
            try:
                embedder.embed_documents(batch)
            except EndpointError as error:
                failures.append(error)
                return
            times.append(time.perf_counter() - started)

    with Embedder(settings) as embedder, ThreadPoolExecutor(settings.concurrency) as threads:
        embedder.embed_documents(list(texts[: settings.batch_size]))  # probe, connections, the model's first run
        started = time.perf_counter()
        for sending in [threads.submit(send, embedder, started + seconds) for _ in range(settings.concurrency)]:
            sending.result()
        took = time.perf_counter() - started
        if not times:
            raise failures[0]
    ordered = sorted(times)
    return EndpointTrial(
        batch_size=settings.batch_size,
        concurrency=settings.concurrency,
        texts_per_second=len(times) * settings.batch_size / took,
        p50_ms=median(ordered) * 1000,
        p99_ms=ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] * 1000,
        failed=len(failures),
        gpu_bytes=gpu_memory(settings),
        dtype=dtype,
    )


def gpu_memory(settings: EmbedderSettings) -> float:
    """What `/metrics` says about memory on GPUs, summed; 0 where it says nothing."""
    url = settings.base_urls[0].removesuffix("/").removesuffix("/v1") + "/metrics"
    try:
        text = httpx.get(url, timeout=2.0).text
    except (httpx.HTTPError, httpx.InvalidURL):
        return 0.0
    return sum(float(value) for name, value in GPU_MEMORY.findall(text) if "total" not in name)
