"""The doctor: every step from here to a vector, what was tried, what came back, what it means, and what to do.

for check in diagnose(settings): print(check.status, check.name, check.came_back, check.fix)
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kb.config import EmbedderSettings, Settings
from kb.embed.answers import unit
from kb.embed.examine import largest_batch, limit_by_trying, order_holds, over_length, replicas, speed
from kb.embed.failures import RequestFailed
from kb.embed.key_lines import line_of
from kb.embed.probe import ASSUMED, first_vectors, max_tokens_of, server_at
from kb.embed.reach import Place, connect, handshake, place_of, proxy_for, resolve
from kb.embed.recognise import Server, listed_names
from kb.embed.sender import Form, Sender
from kb.embed.space import EmbeddingSpace
from kb.embed.tokens import find_tokenizer
from kb.embed.unanswered import certificate_problem
from kb.embed.wire import bare_url
from kb.errors import KnowledgeBaseError
from kb.types import Vector

__all__ = ["Check", "diagnose"]

Status = Literal["ok", "warn", "fail", "skip"]
CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One step. `key` is the configuration key at fault (or looked at), `line` where the file has it."""

    name: str
    status: Status
    tried: str
    came_back: str
    meaning: str = ""
    fix: str = ""
    key: str = "embedder.base_url"
    line: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The check as `--json` prints it."""
        return asdict(self)


def diagnose(settings: Settings, *, config_file: Path | None = None) -> Iterator[Check]:
    """Every check, as it is made. Raises nothing: what goes wrong is a check that failed."""
    for check in _checks(settings):
        yield replace(check, line=line_of(check.key, config_file) if config_file else None)


def _checks(settings: Settings) -> Iterator[Check]:
    spaces: dict[str, EmbeddingSpace] = {}
    for url in settings.embedder.base_urls:
        yield from _endpoint(settings.embedder, url, spaces)
    if len(spaces) > 1:
        yield _fleet(spaces)
    yield _tokenizer(settings.embedder)
    yield _cache(settings)


def _endpoint(settings: EmbedderSettings, url: str, spaces: dict[str, EmbeddingSpace]) -> Iterator[Check]:
    alone = settings.model_copy(update={"base_url": url, "retries": 0})
    for check in _way(url):
        yield check
        if check.status == "fail":
            yield Check("endpoint", "skip", bare_url(url), "not asked", "the way to it is blocked")
            return
    sender = Sender(alone)
    try:
        server = server_at(alone, sender, url)
        yield _kind(server, url)
        try:
            vectors, form = first_vectors(alone, sender, url)
        except KnowledgeBaseError as error:
            yield _failed("embeddings", f"POST {bare_url(url)}/embeddings", error)
            return
        spaces[url] = EmbeddingSpace(alone.model, vectors.shape[1], unit(vectors))
        yield from _what_it_is(alone, url, server, vectors, form)
        yield from _what_it_can(alone, sender, url, server, form)
    except RequestFailed as failed:
        yield _failed("endpoint", bare_url(url), failed.failure.error)
    except KnowledgeBaseError as error:  # a header that cannot be sent
        yield _failed("endpoint", bare_url(url), error)
    finally:
        sender.close()


# --- the way -----------------------------------------------------------------------------------------------------


def _way(url: str) -> Iterator[Check]:
    """Path of the URL, proxy, name, connection, TLS."""
    yield _path(url)
    proxy = proxy_for(url)
    if proxy:
        meaning = "requests go through it, so name and port are its business"
        yield Check("proxy", "warn", "HTTP_PROXY, HTTPS_PROXY", proxy, meaning, "Set NO_PROXY if that is not meant.")
        return
    place = place_of(url)
    for step in (_name, _connection, _tls):
        check = step(place)
        yield check
        if check.status == "fail":
            return


def _path(url: str) -> Check:
    shown = bare_url(url)
    if "/v1/v1" in url:
        return Check("path", "warn", shown, "/v1 is there twice", "", f"Try {shown.replace('/v1/v1', '/v1')}.")
    if not url.endswith("/v1"):
        return Check("path", "warn", shown, "does not end in /v1", "most servers have it", f"Try {shown}/v1.")
    return Check("path", "ok", shown, "ends in /v1")


def _name(place: Place) -> Check:
    tried = f"look up {place.host}"
    try:
        return Check("name", "ok", tried, ", ".join(resolve(place)))
    except OSError as error:
        fix = "Check embedder.base_url for a typing error, and the network's name service (DNS, VPN)."
        return Check("name", "fail", tried, str(error.strerror or error), "no such host is known here", fix)


def _connection(place: Place) -> Check:
    tried = f"connect to {place.host}, port {place.port}"
    try:
        return Check("connection", "ok", tried, f"open after {connect(place, CONNECT_SECONDS) * 1000:.0f} ms")
    except ConnectionRefusedError:
        fix = "Start the server, or correct the port in embedder.base_url."
        return Check("connection", "fail", tried, "refused", "the host is there, but nothing listens on the port", fix)
    except TimeoutError:
        fix = "Ask for the port to be opened, or use the VPN."
        return Check("connection", "fail", tried, "no answer", "a firewall drops it, or the host is down", fix)
    except OSError as error:
        return Check("connection", "fail", tried, str(error), "the network does not lead there", "Check the network.")


def _tls(place: Place) -> Check:
    tried = f"TLS handshake with {place.host}"
    if not place.tls:
        return Check("TLS", "skip", tried, "http://, so nothing is encrypted", "the key and the texts travel readable")
    try:
        return Check("TLS", "ok", tried, handshake(place, CONNECT_SECONDS))
    except ssl.SSLError as error:
        what, fix = certificate_problem(error)
        return Check("TLS", "fail", tried, str(error.reason or error), what, fix)
    except OSError as error:
        return Check("TLS", "fail", tried, str(error), "the connection broke in the handshake", "See the server's log.")


# --- what answers ------------------------------------------------------------------------------------------------


def _kind(server: Server, url: str) -> Check:
    tried = f"GET {bare_url(url)}/models, /info"
    name = server.kind or "a server that says nothing of itself"
    if not server.serves_embeddings:
        return Check("server", "fail", tried, name, server.note, "Start the right server.")
    if server.kind == "web server":
        return Check("server", "warn", tried, server.note, "no embedding server has such a page", "Check the port.")
    return Check("server", "ok", tried, name, server.note)


def _failed(name: str, tried: str, error: KnowledgeBaseError) -> Check:
    keys = {"Authentication error": "embedder.api_key", "Model error": "embedder.model"}
    key = {**keys, "Timeout error": "embedder.timeout"}.get(error.family, "embedder.base_url")
    return Check(name, "fail", tried, error.what, error.family, error.fix, key)


def _what_it_is(settings: EmbedderSettings, url: str, server: Server, vectors: Vector, form: Form) -> Iterator[Check]:
    tried = f"POST {bare_url(url)}/embeddings"
    yield Check("authentication", "ok", tried, "accepted", key="embedder.api_key")
    names = listed_names(server.cards)
    if names and settings.model not in names:
        fix = f"Set embedder.model to one of: {', '.join(names[:5])}."
        meaning = "it answers all the same, so it may ignore the name"
        yield Check(
            "model", "warn", f"find {settings.model!r} in /models", "not listed", meaning, fix, "embedder.model"
        )
    else:
        yield Check("model", "ok", f"embed with {settings.model!r}", "vectors", key="embedder.model")
    yield Check("dimension", "ok", tried, f"{vectors.shape[1]} numbers a vector", key="embedder.dimensions")
    norms = np.linalg.norm(vectors, axis=1)
    normalised = bool(np.allclose(norms, 1, atol=1e-3))
    meaning = "unit length" if normalised else "not normalised; that is done here, nothing to do"
    yield Check("norm", "ok", "length of the vectors", f"{norms.min():.3f} to {norms.max():.3f}", meaning)
    if form.takes_lists:
        yield Check("lists", "ok", "three texts in one request", "three vectors")
    else:
        meaning = "one string a request: each text costs a request, so it is slow"
        yield Check("lists", "warn", "three texts in one request", "refused", meaning, "Nothing to do; it works.")
    meaning = "vectors travel at a quarter of the size" if form.base64 else "numbers as text: slower, but it works"
    yield Check("base64", "ok" if form.base64 else "warn", "encoding_format=base64", _yes(form.base64), meaning)


def _what_it_can(settings: EmbedderSettings, sender: Sender, url: str, server: Server, form: Form) -> Iterator[Check]:
    if form.takes_lists:
        held = order_holds(sender, form, url)
        meaning = "" if held else "vectors come back to other texts than they belong to: nothing found would be right"
        fix = "" if held else "Do not use this server; tell who runs it."
        yield Check("order", "ok" if held else "fail", "texts together and alone", _yes(held), meaning, fix)
    yield _length(settings, sender, url, server, form)
    most = largest_batch(sender, form, url, settings.batch_size)
    fits = most >= settings.batch_size or not form.takes_lists
    fix = "" if fits else f"Set embedder.batch_size to {most}; it is used from now on in any case."
    tried = f"{settings.batch_size} texts in one request"
    yield Check("batch", "ok" if fits else "warn", tried, f"takes {most}", fix=fix, key="embedder.batch_size")
    found = len(replicas(settings, form, url))
    meaning = "" if found == 1 else "replicas behind this address serve different models: results would be random"
    fix = "" if found == 1 else "Roll the same model out to every replica."
    came_back = "the same vector each time" if found == 1 else f"{found} different vectors"
    yield Check("replicas", "ok" if found == 1 else "fail", "one text, 8 connections", came_back, meaning, fix)
    glance = speed(sender, form, url, most, max_tokens_of(settings, server)[0])
    came_back = f"{glance.latency * 1000:.0f} ms a question, {glance.texts_per_second:.0f} passages/s"
    yield Check("speed", "ok", f"5 questions, a batch of {glance.batch}", came_back, key="embedder.concurrency")


def _length(settings: EmbedderSettings, sender: Sender, url: str, server: Server, form: Form) -> Check:
    limit, source = max_tokens_of(settings, server)
    if source == ASSUMED:
        found = limit_by_trying(sender, form, url)
        came_back = f"texts count up to {found or 'an unknown number of'} tokens at least"
        fix = "Set embedder.max_tokens to the model's maximum."
        return Check("length", "warn", "texts of 128, 256, 512 tokens", came_back, "", fix, "embedder.max_tokens")
    tried = f"a text over {limit} tokens (by {source})"
    past = over_length(sender, form, url, limit)
    if past.refused:
        return Check("length", "ok", tried, past.refused, "long texts are refused, not cut", key="embedder.max_tokens")
    came_back = "cut without a word" if past.cut else "accepted whole"
    meaning = "passages are kept below the limit here, so nothing is lost" if past.cut else "the limit may be higher"
    return Check("length", "ok", tried, came_back, meaning, key="embedder.max_tokens")


def _fleet(spaces: dict[str, EmbeddingSpace]) -> Check:
    first, *others = spaces.items()
    tried = f"the same texts at {len(spaces)} endpoints"
    for url, space in others:
        difference = first[1].difference(space)
        if difference is not None:
            what = f"{bare_url(url)} gives other vectors than {bare_url(first[0])}"
            return Check("fleet", "fail", tried, what, difference, "Serve the same model at each, or drop that one.")
    return Check("fleet", "ok", tried, "the same vectors")


# --- beside the endpoint -----------------------------------------------------------------------------------------


def _tokenizer(settings: EmbedderSettings) -> Check:
    tried = f"a tokenizer for {settings.model!r} on this machine"
    try:
        tokenizer, source = find_tokenizer(settings)
    except KnowledgeBaseError as error:
        return Check("tokenizer", "fail", tried, error.what, "", error.fix, "embedder.tokenizer")
    if tokenizer is not None:
        return Check("tokenizer", "ok", tried, source, key="embedder.tokenizer")
    meaning = "tokens are counted by the endpoint where it can, else estimated, and passages come out shorter"
    fix = "Set embedder.tokenizer to the model's tokenizer.json."
    return Check("tokenizer", "warn", tried, "none", meaning, fix, "embedder.tokenizer")


def _cache(settings: Settings) -> Check:
    cache = settings.cache
    if not cache.enabled:
        return Check("cache", "skip", "cache.enabled", "off", key="cache.enabled")
    if cache.url is None:
        return Check("cache", "ok", "a file beside the store", f"at most {cache.max_mb} MB", key="cache.max_mb")
    from kb.embed.redis_cache import RedisCache

    try:
        redis = RedisCache(cache.url.get_secret_value(), prefix=cache.prefix, ttl_seconds=1)
        try:
            redis.ping()
        finally:
            redis.close()
    except KnowledgeBaseError as error:
        return Check("cache", "fail", "cache.url", error.what, "", error.fix, "cache.url")
    except Exception as error:
        fix = "Start Redis or correct cache.url."
        return Check("cache", "warn", "PING to cache.url", str(error)[:200], "works, uncached", fix, "cache.url")
    return Check("cache", "ok", "PING to cache.url", "PONG", key="cache.url")


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
