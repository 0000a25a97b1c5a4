"""Counting tokens: where the tokenizer comes from, and that an estimate never falls short."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from kb.config import EmbedderSettings
from kb.embed import Embedder, TokenCounter
from kb.embed.tokens import PACKAGES, estimate, find_tokenizer, local_max_tokens
from kb.errors import ConfigurationError, EndpointConnectionError
from tests.embed.opening import settings_for
from tests.embed.servers import Answer, HashServer, Request, serve

SENTENCES = [
    "Operating margin fell by 3.2 percentage points to 14.8 % in fiscal 2022.",
    "The registrant's telephone number, including area code: (212) 555-0100.",
    "Die Vorstandsvergütung wurde im Geschäftsjahr 2021/22 neu geregelt.",
    "Выручка компании выросла на 12 процентов.",
    "営業利益率は前年同期比で低下した。",
    "def area(radius): return 3.14159 * radius ** 2",
    "antidisestablishmentarianism, pneumonoultramicroscopicsilicovolcanoconiosis",
]


def counter(model: str = "all-MiniLM-L6-v2") -> TokenCounter:
    tokenizer, source = find_tokenizer(EmbedderSettings(model=model))
    return TokenCounter(256, tokenizer, source)


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_the_bundled_servers_model_is_counted_without_asking(name: str) -> None:
    found = counter(name)
    assert found.exact
    assert found.count(["", "margin"]) == [2, 3]
    assert local_max_tokens(name) == 256


def test_no_text_is_cut_by_counting() -> None:
    assert counter().count(["word " * 1000]) == [1002]


@pytest.mark.parametrize("text", SENTENCES)
def test_an_estimate_is_no_less_than_the_count_and_less_than_twice_of_it(text: str) -> None:
    [exact] = counter().count([text])
    assert exact <= estimate(text) <= 2 * exact + 4


def test_a_path_in_the_settings_wins(tmp_path: Path) -> None:
    import importlib.util

    package = importlib.util.find_spec(PACKAGES["all-minilm-l6-v2"])
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "model"
    for path in (folder, folder / "tokenizer.json"):
        tokenizer, source = find_tokenizer(EmbedderSettings(model="anything", tokenizer=str(path)))
        assert tokenizer is not None
        assert str(path) in source


def test_a_bad_path_is_a_configuration_error(tmp_path: Path) -> None:
    bad = tmp_path / "tokenizer.json"
    bad.write_text("{}")
    with pytest.raises(ConfigurationError, match=r"embedder\.tokenizer"):
        find_tokenizer(EmbedderSettings(tokenizer=str(bad)))


class Vllm(HashServer):
    """Counts words as tokens; the first `busy` questions are answered 503."""

    busy = 0

    def other(self, request: Request) -> Answer:
        if request.path == "/v1/models":
            return Answer(body={"data": [{"id": "hash", "owned_by": "vllm", "max_model_len": 512}]})
        if request.path != "/tokenize":
            return Answer(404, {})
        self.busy -= 1
        if self.busy >= 0:
            return Answer(503, {})
        return Answer(body={"count": len(request.body["prompt"].split()) + 2, "max_model_len": 512})


def test_a_busy_endpoint_is_waited_for_when_it_counts(running: ExitStack) -> None:
    server = Vllm()
    embedder = running.enter_context(Embedder(settings_for(running.enter_context(serve(server)))))
    counter = embedder.tokenizer
    server.busy = 2
    assert counter.count(["one two"]) == [4]
    server.busy = 3
    with pytest.raises(EndpointConnectionError, match=r"/tokenize: it answers 503.*3 attempts"):
        counter.count(["one two"])


def test_another_endpoint_counts_where_one_is_broken(running: ExitStack) -> None:
    broken = Vllm()
    urls = [running.enter_context(serve(server)) for server in (broken, Vllm())]
    embedder = running.enter_context(Embedder(settings_for(*urls, backoff_factor=60)))
    counter = embedder.tokenizer
    broken.busy = 1000
    assert counter.count(["one two"]) == [4]


def test_an_endpoint_that_counts_is_asked(running: ExitStack) -> None:
    url = running.enter_context(serve(Vllm()))
    embedder = running.enter_context(Embedder(settings_for(url)))
    assert embedder.tokenizer.exact
    assert embedder.tokenizer.count(["one two", "one two three"]) == [4, 5]


def test_a_limit_that_nobody_tells_is_found_by_trying(running: ExitStack) -> None:
    class SilentlyCutting(HashServer):
        def item(self, index: int, text: str, coded: bool) -> dict[str, object]:
            return super().item(index, " ".join(text.split()[:254]), coded)

    url = running.enter_context(serve(SilentlyCutting(max_model_len=None)))
    embedder = running.enter_context(Embedder(settings_for(url)))
    assert embedder.tokenizer.max_tokens == 256


@pytest.mark.parametrize(("told", "expected"), [(128, 128), (None, 64)])
def test_what_the_endpoint_tells_wins_over_the_settings(running: ExitStack, told: int | None, expected: int) -> None:
    url = running.enter_context(serve(HashServer(max_model_len=told)))
    embedder = running.enter_context(Embedder(settings_for(url, max_tokens=64)))
    assert embedder.tokenizer.max_tokens == expected
