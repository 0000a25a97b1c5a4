"""Finding out what an endpoint is and can do, with a few small requests, on first use."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping

import numpy as np

from kb.config import EmbedderSettings
from kb.embed.answers import unit
from kb.embed.endpoint_tokens import asker_of
from kb.embed.examine import limit_by_trying
from kb.embed.failures import Remedy, RequestFailed
from kb.embed.profile import EndpointProfile, Traits
from kb.embed.recognise import Server, listed_names, recognise, root_of
from kb.embed.sender import Form, Sender
from kb.embed.space import CANARIES, EmbeddingSpace
from kb.embed.tokens import DEFAULT_MAX_TOKENS, TokenCounter, find_tokenizer, local_max_tokens
from kb.embed.wire import bare_url
from kb.errors import EndpointConnectionError, EndpointError, EndpointModelError
from kb.types import Vector

__all__ = ["ASSUMED", "explain", "first_vectors", "max_tokens_of", "probe", "server_at", "spaces_at"]

logger = logging.getLogger(__name__)

QUESTION_SECONDS = 5.0  # for /models and the like, which need no model
ASSUMED = "an assumption"
UNIT = 1e-3  # how far from 1 the norm of a normalised vector may be: half precision
FORMS = (Form(True, True), Form(True, False), Form(False, True), Form(False, False))


def probe(settings: EmbedderSettings, sender: Sender, known: Traits | None = None) -> EndpointProfile:
    """Asks every endpoint, with what is known of them already. Raises EndpointError in one of the four families."""
    traits = known
    form = Form(known.takes_lists, known.base64) if known else None
    found = _of_each(settings, sender, lambda url, retries: _first_vectors(settings, sender, url, retries, form))
    spaces = {url: _space(settings, vectors) for url, (vectors, _) in found.items()}
    for url, (vectors, taken) in found.items():
        if traits is None or (traits.takes_lists, traits.base64) != (taken.takes_lists, taken.base64):
            traits = _traits(settings, sender, url, taken, vectors)
    _must_agree(spaces)
    assert traits is not None
    return EndpointProfile(next(iter(spaces.values())), _tokenizer(settings, sender, traits), traits)


def spaces_at(settings: EmbedderSettings, sender: Sender, form: Form) -> dict[str, EmbeddingSpace]:
    """The space of each endpoint that answers, as it is now. Raises EndpointError."""
    free = Form(form.takes_lists, form.base64)
    found = _of_each(settings, sender, lambda url, retries: _canaries(sender, free, url, retries))
    return {url: _space(settings, vectors) for url, (vectors, _) in found.items()}


def _space(settings: EmbedderSettings, vectors: Vector) -> EmbeddingSpace:
    return EmbeddingSpace(settings.model, vectors.shape[1], unit(vectors))


def _of_each(
    settings: EmbedderSettings, sender: Sender, ask: Callable[[str, int], tuple[Vector, Form]]
) -> dict[str, tuple[Vector, Form]]:
    """Vectors and form by URL; one of several that is down is left out while another answers. Raises EndpointError.

    It is looked at again when it comes back: the sender counts that as a recovery.
    """
    urls = settings.base_urls
    found: dict[str, tuple[Vector, Form]] = {}
    for url in urls:
        try:
            found[url] = ask(url, settings.retries if len(urls) == 1 else 0)
        except RequestFailed as failed:
            if len(urls) == 1 or failed.failure.remedy is not Remedy.WAIT:
                raise explain(settings, sender, url, failed) from None
            error = failed.failure.error
            logger.warning("%s: %s; going on without it while another one answers", error.where, error.what)
    if not found:  # all are down: wait for the first, as for a single one
        try:
            found[urls[0]] = ask(urls[0], settings.retries)
        except RequestFailed as failed:
            raise failed.failure.error from None
    return found


def first_vectors(settings: EmbedderSettings, sender: Sender, base_url: str) -> tuple[Vector, Form]:
    """The canaries' raw vectors by the richest form that the endpoint takes. Raises EndpointError, with its cause."""
    try:
        return _first_vectors(settings, sender, base_url, settings.retries)
    except RequestFailed as failed:
        raise explain(settings, sender, base_url, failed) from None


def _first_vectors(
    settings: EmbedderSettings, sender: Sender, base_url: str, retries: int, known: Form | None = None
) -> tuple[Vector, Form]:
    first: RequestFailed | None = None
    for form in (known,) if known else FORMS:
        try:
            return _canaries(sender, form, base_url, retries)
        except RequestFailed as failed:
            first = first or failed
            if failed.failure.remedy is not Remedy.DIVIDE or failed.failure.status not in (400, 422, 424, 500):
                break
    assert first is not None
    if known is not None and first.failure.remedy is not Remedy.WAIT:
        return _first_vectors(settings, sender, base_url, retries)  # it is not what it was: find out anew
    raise first


def _canaries(sender: Sender, form: Form, base_url: str | None, retries: int) -> tuple[Vector, Form]:
    if form.takes_lists:
        vectors, coded = sender.send(CANARIES, form, retries=retries, base_url=base_url, urgent=True)
    else:
        answers = [sender.send([text], form, retries=retries, base_url=base_url, urgent=True) for text in CANARIES]
        vectors, coded = np.concatenate([rows for rows, _ in answers]), all(coded for _, coded in answers)
    return vectors, Form(form.takes_lists, coded)


def explain(settings: EmbedderSettings, sender: Sender, base_url: str, failed: RequestFailed) -> EndpointError:
    """The error of the first request, with what a few more questions to the server tell of its cause."""
    failure = failed.failure
    error, status = failure.error, failure.status
    if status is None or status in (401, 403, 407, 408, 429) or status >= 500 or 300 <= status < 400:
        return error
    server = server_at(settings, sender, base_url)
    if not server.serves_embeddings:
        return EndpointModelError(
            f"no embeddings there: {server.note}", where=error.where, fix="Start that one instead."
        )
    names = listed_names(server.cards)
    if names and settings.model not in names:
        near = difflib.get_close_matches(settings.model, names, n=3, cutoff=0.0)
        fix = f"Set embedder.model to a model that is served: {', '.join(near)}."
        return EndpointModelError(f"there is no model {settings.model!r}; {error.what}", where=error.where, fix=fix)
    if isinstance(error, EndpointConnectionError) or server.kind == "web server":
        return _wrong_path(sender, base_url, server, error)
    return error


def _wrong_path(sender: Sender, base_url: str, server: Server, error: EndpointError) -> EndpointError:
    """base_url leads nowhere: see whether /v1 is missing from it, or too much."""
    root = root_of(base_url)
    for other in (f"{root}/v1", root):
        if other != base_url and sender.wire.ask("GET", f"{other}/models", timeout=QUESTION_SECONDS).status == 200:
            lack = "lacks /v1" if other.endswith("/v1") and "/v1" not in base_url else "has a /v1 too much"
            what = f"no embeddings route there: embedder.base_url {lack}; {error.what}"
            fix = f"Set embedder.base_url to {bare_url(other)}."
            return EndpointConnectionError(what, where=error.where, fix=fix)
    note = f"; {server.note}" if server.note else ""
    return EndpointConnectionError(f"{error.what}{note}", where=error.where, fix=error.fix)


def server_at(settings: EmbedderSettings, sender: Sender, base_url: str) -> Server:
    """What kind of server answers there."""
    return recognise(sender.wire, base_url, timeout=min(settings.timeout, QUESTION_SECONDS))


def _traits(settings: EmbedderSettings, sender: Sender, url: str, form: Form, vectors: Vector) -> Traits:
    server = server_at(settings, sender, url)
    names = listed_names(server.cards)
    if names and settings.model not in names:
        logger.warning(
            "%s answers, but lists no model %r (it has %s): it may ignore the name",
            bare_url(url),
            settings.model,
            ", ".join(names[:5]),
        )
    max_tokens, told_by = max_tokens_of(settings, server)
    if told_by == ASSUMED:
        tried = limit_by_trying(sender, form, url)
        max_tokens, told_by = (
            (tried, "trying: the end of longer texts does not count") if tried else (max_tokens, told_by)
        )
        logger.warning(
            "The endpoint does not say how long a text may be; taking %d tokens (%s). Better: set embedder.max_tokens.",
            max_tokens,
            told_by,
        )
    return Traits(
        kind=server.kind,
        takes_lists=form.takes_lists,
        base64=form.base64,
        normalised=bool(np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=UNIT)),
        max_tokens=max_tokens,
        max_tokens_from=told_by,
        max_batch=_whole(server.info.get("max_client_batch_size")) or _whole(server.info.get("max_texts")),
        tokenize=server.kind if server.kind in ("TEI", "vLLM", "bundled server") else "",
    )


def max_tokens_of(settings: EmbedderSettings, server: Server) -> tuple[int, str]:
    """The longest text, special tokens included, and who says so."""
    candidates = (
        (_whole(server.card(settings.model).get("max_model_len")), "the endpoint's /models"),
        (_whole(server.info.get("max_input_length")), "the endpoint's /info"),
        (settings.max_tokens, "embedder.max_tokens"),
        (local_max_tokens(settings.model), "the model's folder on this machine"),
    )
    for tokens, source in candidates:
        if tokens:
            return tokens, source
    return DEFAULT_MAX_TOKENS, ASSUMED


def _tokenizer(settings: EmbedderSettings, sender: Sender, traits: Traits) -> TokenCounter:
    tokenizer, source = find_tokenizer(settings)
    if tokenizer is not None:
        return TokenCounter(traits.max_tokens, tokenizer, source)
    ask = asker_of(traits.tokenize, settings, sender)
    if ask is not None:
        return TokenCounter(traits.max_tokens, None, f"the endpoint's /tokenize ({traits.tokenize})", ask)
    return TokenCounter(traits.max_tokens, None, "an estimate by letters")


def _must_agree(spaces: Mapping[str, EmbeddingSpace]) -> None:
    """Raises EndpointModelError naming the endpoint that gives other vectors than most."""
    agreeing = {url: sum(one.difference(other) is None for other in spaces.values()) for url, one in spaces.items()}
    most = max(agreeing.values())
    common = next(space for url, space in spaces.items() if agreeing[url] == most)
    for url, space in spaces.items():
        difference = common.difference(space)
        if difference is not None:
            raise EndpointModelError(
                f"it gives other vectors than {'the others' if most > 1 else 'the first'} of embedder.base_url: "
                f"{difference}",
                where=bare_url(url),
                fix="Serve the same model at every one of embedder.base_url, or take this one out of the list.",
            )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
