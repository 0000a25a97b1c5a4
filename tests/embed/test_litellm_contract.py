"""What we rely on in litellm, measured: an upgrade that changes one of these must be noticed, not suffered.

Each test calls litellm itself, without any of our own handling around it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from kb.embed.route import load_litellm
from tests.embed.servers import Answer, HashServer, closed_port, serve


@pytest.fixture(autouse=True)
def _pydantic_may_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def litellm() -> Iterator[Any]:
    """The module; the clients that it keeps for itself are closed in the end."""
    module = load_litellm()
    yield module
    clients = module.in_memory_llm_clients_cache.cache_dict
    for client in [*clients.values()]:
        if type(client).__name__ in ("HTTPHandler", "OpenAI"):  # not the asynchronous ones, which were not used
            client.close()
    clients.clear()


def call(litellm: Any, url: str, route: str = "hosted_vllm", **options: Any) -> Any:
    """One embedding call."""
    fields = {"input": ["one", "two"], "api_base": f"{url}/v1", "api_key": "sk-key", "timeout": 5, **options}
    return litellm.embedding(model=f"{route}/hash", **fields)


STATUSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "APIError",
    404: "NotFoundError",
    408: "Timeout",
    413: "APIError",
    422: "BadRequestError",
    424: "APIError",
    429: "RateLimitError",
    500: "InternalServerError",
    502: "BadGatewayError",
    503: "ServiceUnavailableError",
    504: "Timeout",
}


@pytest.mark.parametrize("status", STATUSES)
def test_hosted_vllm_gives_each_status_its_class_and_sends_one_request(
    litellm: Any, running: ExitStack, status: int
) -> None:
    server = HashServer(before=lambda _: Answer(status, {"error": {"message": "no", "type": "some_error"}}))
    url = running.enter_context(serve(server))
    with pytest.raises(getattr(litellm, STATUSES[status])):
        call(litellm, url, num_retries=3, max_retries=3)
    assert len(server.requests) == 1


def test_openai_tries_three_times_even_with_no_retries_asked_for(litellm: Any, running: ExitStack) -> None:
    """Why the route is hosted_vllm/: these retries would multiply with ours."""
    server = HashServer(before=lambda _: Answer(503, {}, {"Retry-After": "0"}))
    url = running.enter_context(serve(server))
    with pytest.raises(litellm.ServiceUnavailableError):
        call(litellm, url, route="openai", max_retries=0, num_retries=0)
    assert len(server.requests) == 3


def test_a_refused_connection_is_called_an_internal_server_error(litellm: Any) -> None:
    """Why failures are told apart by what was on the wire, not by litellm's class."""
    with pytest.raises(litellm.InternalServerError):
        call(litellm, f"http://127.0.0.1:{closed_port()}")


def test_a_base64_vector_is_handed_on_as_the_string_it_is(litellm: Any, running: ExitStack) -> None:
    url = running.enter_context(serve(HashServer()))
    answer = call(litellm, url, encoding_format="base64")
    assert [type(item["embedding"]) for item in answer.data] == [str, str]


def test_encoding_format_is_left_out_unless_asked_for(litellm: Any, running: ExitStack) -> None:
    """litellm 1.80 to 1.82 sent null, which TEI and vLLM refuse."""
    server = HashServer()
    call(litellm, running.enter_context(serve(server)))
    assert set(server.requests[0].body) == {"model", "input"}


def test_dimensions_are_passed_on(litellm: Any, running: ExitStack) -> None:
    server = HashServer()
    call(litellm, running.enter_context(serve(server)), dimensions=8)
    assert server.requests[0].body["dimensions"] == 8


def test_extra_body_is_laid_over_the_input(litellm: Any, running: ExitStack) -> None:
    """How one string is sent, where hosted_vllm/ makes a list of it."""
    server = HashServer(lists=False)
    call(litellm, running.enter_context(serve(server)), input=["one"], extra_body={"input": "one"})
    assert server.requests[0].body["input"] == "one"


def test_number_and_order_of_vectors_are_not_checked(litellm: Any, running: ExitStack) -> None:
    """Why we check them."""
    item = {"index": 1, "embedding": [1.0]}
    url = running.enter_context(serve(HashServer(before=lambda _: Answer(body={"data": [item]}))))
    assert call(litellm, url).data == [item]


def test_fake_api_key_sends_no_authorization(litellm: Any, running: ExitStack) -> None:
    server = HashServer()
    call(litellm, running.enter_context(serve(server)), api_key="fake-api-key")
    assert "authorization" not in server.requests[0].headers


def test_connections_are_kept_alive(litellm: Any, running: ExitStack) -> None:
    server = HashServer()
    url = running.enter_context(serve(server))
    for _ in range(5):
        call(litellm, url)
    assert len({request.connection for request in server.requests}) == 1


def test_the_router_puts_a_failing_endpoint_aside(litellm: Any, running: ExitStack) -> None:
    """Fed by the callback of a plain call that carries the deployment's id, as kb.embed.route makes it."""
    good = running.enter_context(serve(HashServer()))
    bad = running.enter_context(serve(HashServer(before=lambda _: Answer(503, {}))))
    router = litellm.Router(
        model_list=[
            {
                "model_name": "group",
                "litellm_params": {"model": "hosted_vllm/hash", "api_base": f"{url}/v1"},
                "model_info": {"id": url},
            }
            for url in (good, bad)
        ],
        num_retries=0,
        allowed_fails=0,
        cooldown_time=30,
    )
    try:
        with pytest.raises(litellm.ServiceUnavailableError):
            call(litellm, bad, model_info={"id": bad}, metadata={"model_group": "group"})
        picked = {router.get_available_deployment(model="group", input=[])["model_info"]["id"] for _ in range(20)}
        assert picked == {good}
    finally:
        router.discard()


def test_importing_the_product_imports_no_litellm() -> None:
    import subprocess
    import sys

    script = "import sys, kb, kb.config, kb.errors; sys.exit('litellm' in sys.modules or 'httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
