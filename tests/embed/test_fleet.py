"""Several endpoints: balanced, a failing one put aside, and all of them in one embedding space."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from kb.embed import Embedder
from kb.errors import EndpointAuthenticationError, EndpointConnectionError, EndpointModelError
from tests.embed.opening import settings_for
from tests.embed.servers import Answer, HashServer, closed_port, serve, vector_of

TEXTS = [f"text {number}" for number in range(60)]


def fleet(running: ExitStack, *servers: HashServer) -> tuple[Embedder, list[str]]:
    urls = [running.enter_context(serve(server)) for server in servers]
    return running.enter_context(Embedder(settings_for(*urls, batch_size=2))), urls


def test_the_work_is_shared(running: ExitStack) -> None:
    servers = [HashServer(), HashServer(), HashServer()]
    embedder, _ = fleet(running, *servers)
    batch = embedder.embed_documents(TEXTS)
    np.testing.assert_allclose(batch.vectors, [vector_of(text) for text in TEXTS], atol=1e-6)
    assert all(set(server.texts) & set(TEXTS) for server in servers)


def test_a_failing_one_is_put_aside(running: ExitStack) -> None:
    good, failing = HashServer(), HashServer()
    embedder, _ = fleet(running, good, failing)
    _ = embedder.profile
    failing.before = lambda _: Answer(503, {})
    probed = len(failing.requests)
    batch = embedder.embed_documents(TEXTS)
    assert np.isfinite(batch.vectors).all()
    assert len(failing.requests) - probed < 10  # of 30 batches half would have gone there


def test_when_all_fail_it_is_a_connection_error(running: ExitStack) -> None:
    servers = [HashServer(), HashServer()]
    embedder, _ = fleet(running, *servers)
    _ = embedder.profile
    for server in servers:
        server.before = lambda _: Answer(503, {})
    with pytest.raises(EndpointConnectionError, match="it answers 503"):
        embedder.embed_documents(TEXTS)


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_the_one_with_another_model_is_named(running: ExitStack, odd: int) -> None:
    servers = [HashServer(seed="another" if number == odd else "") for number in range(3)]
    embedder, urls = fleet(running, *servers)
    with pytest.raises(EndpointModelError, match="other vectors than the others") as caught:
        embedder.embed_documents(TEXTS)
    assert caught.value.where == f"{urls[odd]}/v1"


def test_another_dimension_is_named(running: ExitStack) -> None:
    embedder, urls = fleet(running, HashServer(), HashServer(dimension=24))
    with pytest.raises(EndpointModelError, match=r"16 dimensions.* 24"):
        embedder.embed_documents(TEXTS)
    assert urls


def test_it_works_inside_a_running_event_loop(running: ExitStack) -> None:
    """As in a notebook, where litellm's own Router call would start a thread and a loop for each request."""
    import asyncio

    embedder, _ = fleet(running, HashServer(), HashServer())

    async def in_a_notebook() -> int:
        return len(embedder.embed_documents(TEXTS).vectors)

    assert asyncio.run(in_a_notebook()) == 60


def test_one_that_is_down_from_the_start_is_gone_on_without(
    running: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    good = running.enter_context(serve(HashServer()))
    embedder = running.enter_context(
        Embedder(settings_for(f"http://127.0.0.1:{closed_port()}", good, batch_size=2, retries=0))
    )
    assert np.isfinite(embedder.embed_documents(TEXTS).vectors).all()
    assert "going on without it" in caplog.text


def test_one_with_a_wrong_key_is_not_gone_on_without(running: ExitStack) -> None:
    embedder, urls = fleet(running, HashServer(), HashServer(key="another key"))
    with pytest.raises(EndpointAuthenticationError) as caught:
        embedder.embed_documents(TEXTS)
    assert urls[1] in caught.value.where


def test_one_that_was_down_and_comes_back_with_another_model_is_named(running: ExitStack) -> None:
    late = HashServer(before=lambda _: Answer(503, {}))
    embedder, urls = fleet(running, HashServer(), late)
    _ = embedder.profile
    late.before, late.seed = lambda _: None, "another model"
    with pytest.raises(EndpointModelError, match="the model was changed") as caught:
        embedder.embed_documents(TEXTS)
    assert caught.value.where == f"{urls[1]}/v1"
