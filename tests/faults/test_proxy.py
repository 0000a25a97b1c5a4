"""A proxy that the environment sets: used, named where it refuses, and shown without its password."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest

from kb.config import Settings
from kb.embed import Embedder
from kb.errors import EndpointAuthenticationError, EndpointConnectionError
from kb.health import diagnose
from tests.embed.opening import settings_for
from tests.embed.servers import Answer, HashServer, Request, closed_port, serve

FAR = "http://gpu-cluster.invalid:8000"


@pytest.fixture(autouse=True)
def _no_other_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def proxy_to(server: HashServer, running: ExitStack) -> str:
    """Host and port of a proxy that answers for every host with this server."""

    def respond(request: Request) -> Answer:
        return server(replace(request, path=request.path.removeprefix(FAR)))

    return running.enter_context(serve(respond)).removeprefix("http://")


def test_requests_go_through_it(running: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    server = HashServer()
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy_to(server, running)}")
    with Embedder(settings_for(FAR)) as embedder:
        assert embedder.embed_query("why?").shape == (16,)
    assert server.texts.count("why?") == 1


def test_one_that_wants_a_login_is_an_authentication_error(running: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = proxy_to(HashServer(before=lambda _: Answer(407, b"")), running)
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy}")
    with Embedder(settings_for(FAR)) as embedder, pytest.raises(EndpointAuthenticationError, match="HTTPS_PROXY"):
        embedder.embed_query("why?")


def test_one_that_is_gone_is_a_connection_error_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret-word@127.0.0.1:{closed_port()}")
    with Embedder(settings_for(FAR)) as embedder, pytest.raises(EndpointConnectionError, match="proxy") as caught:
        embedder.embed_query("why?")
    assert "secret-word" not in str(caught.value)


def test_the_doctor_names_it_without_its_password(running: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret-word@{proxy_to(HashServer(), running)}")
    checks = {check.name: check for check in diagnose(Settings(embedder=settings_for(FAR)))}
    assert checks["proxy"].status == "warn"
    assert checks["dimension"].status == "ok"
    assert "secret-word" not in str(checks)
