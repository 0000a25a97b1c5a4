"""The embedding cache: what was embedded once is not sent again, and no accident of the cache makes a result wrong."""

from __future__ import annotations

import logging
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import redis

from kb.config import CacheSettings
from kb.embed import Embedder, EmbeddingBatch, open_cache
from kb.embed.cache import key_of, packed
from kb.embed.disk_cache import DiskCache
from kb.errors import ConfigurationError
from tests.embed.opening import settings_for
from tests.embed.servers import HashServer, closed_port, serve, vector_of

TEXTS = [f"text {number}" for number in range(40)]

ANOTHER_PROCESS = """
import sys
from pathlib import Path
from kb.config import CacheSettings, EmbedderSettings
from kb.embed import Embedder, open_cache
base_url, folder, url = sys.argv[1:]
cache = open_cache(CacheSettings(url=url or None), folder=Path(folder))
with Embedder(EmbedderSettings(base_url=base_url, model="hash"), cache=cache) as embedder:
    embedder.embed_documents([f"text {number}" for number in range(40)])
    print(embedder.usage.cache_hits, embedder.usage.cache_misses)
"""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of Debian's on a free port of loopback, which keeps nothing."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server of the Debian package redis-server")
    port = closed_port()
    folder = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            for _ in range(100):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@pytest.fixture(params=["disk", "redis"])
def cache_settings(request: pytest.FixtureRequest) -> CacheSettings:
    """Both caches; a prefix of its own for each test keeps those in Redis apart."""
    if request.param == "disk":
        return CacheSettings()
    return CacheSettings(url=request.getfixturevalue("redis_url"), prefix=f"{request.node.name}:")


def embed(
    running: ExitStack, server: HashServer, cache: CacheSettings, folder: Path, texts: list[str] = TEXTS
) -> tuple[EmbeddingBatch, int, int]:
    """The batch, cache hits and misses of an embedder of its own."""
    url = running.enter_context(serve(server))
    with Embedder(settings_for(url), cache=open_cache(cache, folder=folder)) as embedder:
        return embedder.embed_documents(texts), embedder.usage.cache_hits, embedder.usage.cache_misses


def test_what_was_embedded_once_is_not_sent_again(
    running: ExitStack, cache_settings: CacheSettings, tmp_path: Path
) -> None:
    first, second = HashServer(), HashServer()
    batch, hits, misses = embed(running, first, cache_settings, tmp_path)
    assert (hits, misses) == (0, 40)
    again, hits, misses = embed(running, second, cache_settings, tmp_path)
    assert (hits, misses) == (40, 0)
    assert not set(second.texts) & set(TEXTS)
    np.testing.assert_array_equal(again.vectors, batch.vectors)


@pytest.mark.parametrize("kind", ["disk", "redis"])
def test_another_process_sends_no_text(
    running: ExitStack, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cache = CacheSettings(url=request.getfixturevalue("redis_url") if kind == "redis" else None)
    embed(running, HashServer(), cache, tmp_path)
    server = HashServer()
    url = running.enter_context(serve(server))
    arguments = [
        sys.executable,
        "-c",
        ANOTHER_PROCESS,
        f"{url}/v1",
        str(tmp_path),
        cache.url.get_secret_value() if cache.url else "",
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["40", "0"]
    assert not set(server.texts) & set(TEXTS)


def test_vectors_of_another_model_are_not_served(
    running: ExitStack, cache_settings: CacheSettings, tmp_path: Path
) -> None:
    embed(running, HashServer(), cache_settings, tmp_path)
    batch, hits, _ = embed(running, HashServer(seed="another model behind the same name"), cache_settings, tmp_path)
    assert hits == 0
    expected = [vector_of(text, seed="another model behind the same name") for text in TEXTS]
    np.testing.assert_allclose(batch.vectors, expected, atol=1e-6)


def test_the_same_model_in_another_precision_is_served(
    running: ExitStack, cache_settings: CacheSettings, tmp_path: Path
) -> None:
    class Rounding(HashServer):
        def item(self, index: int, text: str, coded: bool) -> dict[str, object]:
            vector = vector_of(text, self.dimension).astype(np.float16).astype(float)
            return {"index": index, "embedding": vector.tolist()}

    embed(running, HashServer(), cache_settings, tmp_path)
    _, hits, _ = embed(running, Rounding(), cache_settings, tmp_path)
    assert hits == 40


def test_refused_texts_are_not_kept(running: ExitStack, cache_settings: CacheSettings, tmp_path: Path) -> None:
    batch, _, _ = embed(running, HashServer(poison="text 7"), cache_settings, tmp_path)
    assert set(batch.failures) == {7}
    _, hits, misses = embed(running, HashServer(), cache_settings, tmp_path)
    assert (hits, misses) == (39, 1)


def test_a_query_is_kept_too(running: ExitStack, cache_settings: CacheSettings, tmp_path: Path) -> None:
    server = HashServer()
    url = running.enter_context(serve(server))
    for _ in range(2):
        with Embedder(settings_for(url), cache=open_cache(cache_settings, folder=tmp_path)) as embedder:
            np.testing.assert_allclose(embedder.embed_query("why?"), vector_of("why?"), atol=1e-6)
    assert server.texts.count("why?") == 1


# --- on disk -------------------------------------------------------------------------------------------------


def test_the_file_stays_within_its_bounds(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache.sqlite", max_bytes=300_000)
    for start in range(0, 1000, 50):
        cache.put({key_of("s", str(n)): vector_of(str(n), 384) for n in range(start, start + 50)})
    newest = key_of("s", "999")
    assert newest in cache.get([newest])
    cache.close()
    assert (tmp_path / "cache.sqlite").stat().st_size < 500_000


def test_a_bound_that_was_lowered_is_reached_step_by_step(tmp_path: Path) -> None:
    def fill(max_bytes: int, start: int) -> int:
        cache = DiskCache(tmp_path / "cache.sqlite", max_bytes=max_bytes)
        for number in range(start, start + 500, 50):
            cache.put({key_of("s", str(n)): vector_of(str(n), 384) for n in range(number, number + 50)})
        kept = len(cache.get([key_of("s", str(n)) for n in range(start + 500)]))
        cache.close()
        return kept

    assert fill(10**9, 0) == 500
    assert 50 <= fill(200_000, 500) < 150


def test_what_is_used_stays_and_what_is_not_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.embed.disk_cache.TOUCH_SECONDS", 0.0)
    cache = DiskCache(tmp_path / "cache.sqlite", max_bytes=300_000)
    used, unused = key_of("s", "used"), key_of("s", "unused")
    cache.put({used: vector_of("used", 384), unused: vector_of("unused", 384)})
    for start in range(0, 600, 20):
        cache.put({key_of("s", str(n)): vector_of(str(n), 384) for n in range(start, start + 20)})
        cache.get([used])
    assert set(cache.get([used, unused])) == {used}
    cache.close()


def test_a_damaged_file_costs_a_warning(running: ExitStack, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "embeddings.sqlite").write_bytes(b"no database at all, but long enough to be looked at " * 100)
    batch, hits, _ = embed(running, HashServer(), CacheSettings(), tmp_path)
    assert hits == 0
    assert np.isfinite(batch.vectors).all()
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1


def test_a_damaged_vector_is_embedded_anew(running: ExitStack, tmp_path: Path) -> None:
    embed(running, HashServer(), CacheSettings(), tmp_path)
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as connection:
        connection.execute("UPDATE vectors SET vector = x'00112233'")
    connection.close()
    batch, hits, _ = embed(running, HashServer(), CacheSettings(), tmp_path)
    assert hits == 0
    np.testing.assert_allclose(batch.vectors, [vector_of(text) for text in TEXTS], atol=1e-6)


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from kb.embed.cache import key_of
from kb.embed.disk_cache import DiskCache
from tests.embed.servers import vector_of
cache = DiskCache(Path(sys.argv[1]), max_bytes=10**9)
for start in range(0, 200, 10):
    cache.put({key_of("s", f"{sys.argv[2]}.{n}"): vector_of(str(n)) for n in range(start, start + 10)})
cache.close()
"""
    file = tmp_path / "cache.sqlite"
    processes = [subprocess.Popen([sys.executable, "-c", script, str(file), str(n)]) for n in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    cache = DiskCache(file, max_bytes=10**9)
    assert len(cache.get([key_of("s", f"{p}.{n}") for p in range(3) for n in range(200)])) == 600
    cache.close()


# --- Redis ---------------------------------------------------------------------------------------------------


def test_entries_have_prefix_and_time_to_live(running: ExitStack, redis_url: str, tmp_path: Path) -> None:
    embed(running, HashServer(), CacheSettings(url=redis_url, prefix="ours:", ttl_days=2), tmp_path)
    with redis.Redis.from_url(redis_url) as client:
        keys = [key for key in client.scan_iter(b"ours:*") if key != b"ours:spaces"]
        assert len(keys) == 40
        assert all(0 < client.ttl(key) <= 2 * 86_400 for key in keys)


def test_a_redis_that_is_not_there_costs_one_warning(
    running: ExitStack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = CacheSettings(url=f"redis://:secret-password@127.0.0.1:{closed_port()}/0")
    batch, hits, _ = embed(running, HashServer(), cache, tmp_path)
    assert hits == 0
    np.testing.assert_allclose(batch.vectors, [vector_of(text) for text in TEXTS], atol=1e-6)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "secret-password" not in caplog.text


def test_a_redis_that_goes_away_during_a_run_costs_one_warning(
    running: ExitStack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server of the Debian package redis-server")
    port = closed_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--save", "", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL
    )
    try:
        with redis.Redis(port=port) as client:
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
        url = running.enter_context(serve(HashServer()))
        cache = open_cache(CacheSettings(url=f"redis://127.0.0.1:{port}/0"), folder=tmp_path)
        embedder = running.enter_context(Embedder(settings_for(url), cache=cache))
        embedder.embed_documents(TEXTS[:5])
    finally:
        process.terminate()
        process.wait(10)
    for part in (TEXTS[5:10], TEXTS[10:15]):
        assert not embedder.embed_documents(part).failures
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == 1


def test_somebody_elses_values_are_not_taken_for_vectors(running: ExitStack, redis_url: str, tmp_path: Path) -> None:
    settings = CacheSettings(url=redis_url, prefix="shared:")
    embed(running, HashServer(), settings, tmp_path)
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(b"shared:*"):
            if key != b"shared:spaces":
                client.set(key, packed(np.full(16, 3.0, np.float32)))
    batch, hits, _ = embed(running, HashServer(), settings, tmp_path)
    assert hits == 0
    np.testing.assert_allclose(batch.vectors, [vector_of(text) for text in TEXTS], atol=1e-6)


def test_a_cache_url_of_another_kind_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cache\.url"):
        open_cache(CacheSettings(url="memcached://host"), folder=tmp_path)


def test_a_cache_that_is_off_is_none(tmp_path: Path) -> None:
    assert open_cache(CacheSettings(enabled=False), folder=tmp_path) is None
    assert not list(tmp_path.iterdir())
