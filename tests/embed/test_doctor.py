"""The doctor: each check says what was tried, what came back, what it means, what to do, and which line is at fault."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kb.config import CacheSettings, Settings
from kb.embed.key_lines import line_of
from kb.health import Check, diagnose
from tests.embed.opening import settings_for
from tests.embed.servers import Answer, HashServer, Request, closed_port, serve, vector_of


def checks_of(running: ExitStack, *servers: HashServer, **changes: Any) -> dict[str, Check]:
    urls = [running.enter_context(serve(server)) for server in servers]
    return {check.name: check for check in diagnose(Settings(embedder=settings_for(*urls, **changes)))}


def test_a_healthy_endpoint_fails_nothing(running: ExitStack) -> None:
    checks = checks_of(running, HashServer())
    assert not [check for check in checks.values() if check.status == "fail"]
    assert checks["dimension"].came_back == "16 numbers a vector"


def test_nothing_listens() -> None:
    settings = Settings(embedder=settings_for(f"http://127.0.0.1:{closed_port()}"))
    checks = {check.name: check for check in diagnose(settings)}
    assert checks["connection"].status == "fail"
    assert checks["connection"].came_back == "refused"
    assert checks["endpoint"].status == "skip"


def test_an_unknown_host() -> None:
    checks = {check.name: check for check in diagnose(Settings(embedder=settings_for("http://no-such-host.invalid")))}
    assert checks["name"].status == "fail"


def test_a_wrong_key_points_at_the_key(running: ExitStack) -> None:
    check = checks_of(running, HashServer(key="right"), api_key="wrong-key")["embeddings"]
    assert (check.status, check.key, check.meaning) == ("fail", "embedder.api_key", "Authentication error")
    assert "wrong-key" not in str(check)


def test_a_wrong_model_is_answered_with_the_nearest(running: ExitStack) -> None:
    check = checks_of(running, HashServer(model="hush"))["embeddings"]
    assert (check.status, check.key) == ("fail", "embedder.model")
    assert "hush" in check.fix


def test_a_server_with_single_strings_works_and_is_said_to_be_slow(running: ExitStack) -> None:
    checks = checks_of(running, HashServer(lists=False, knows_base64=False, length=3.0))
    assert checks["lists"].status == "warn"
    assert checks["base64"].status == "warn"
    assert "not normalised" in checks["norm"].meaning


def test_a_small_batch_limit_is_measured(running: ExitStack) -> None:
    check = checks_of(running, HashServer(most_texts=10), batch_size=64)["batch"]
    assert (check.status, check.came_back) == ("warn", "takes 8")


def test_vectors_in_the_wrong_order_are_noticed(running: ExitStack) -> None:
    def without_index_and_reversed(request: Request) -> Answer:
        return Answer(body={"data": [{"embedding": vector_of(text).tolist()} for text in reversed(request.texts)]})

    assert checks_of(running, HashServer(before=without_index_and_reversed))["order"].status == "fail"


def test_replicas_with_different_models_are_noticed(running: ExitStack) -> None:
    class Replicas(HashServer):
        """As behind a load balancer that sends each connection to another replica."""

        def item(self, index: int, text: str, coded: bool) -> dict[str, Any]:
            self.seed = f"replica {len({request.connection for request in self.requests}) % 2}"
            return super().item(index, text, coded)

    check = checks_of(running, Replicas())["replicas"]
    assert (check.status, check.came_back) == ("fail", "2 different vectors")


@pytest.mark.parametrize(("refuses", "meaning"), [(True, "refused, not cut"), (False, "nothing is lost")])
def test_what_happens_to_long_texts(running: ExitStack, refuses: bool, meaning: str) -> None:
    class Limited(HashServer):
        def item(self, index: int, text: str, coded: bool) -> dict[str, Any]:
            return super().item(index, " ".join(text.split()[:512]), coded)

    def refuse(request: Request) -> Answer | None:
        long = refuses and any(len(text.split()) > 512 for text in request.texts)
        return Answer(400, {"error": {"message": "maximum context length is 512 tokens"}}) if long else None

    assert meaning in checks_of(running, Limited(before=refuse))["length"].meaning


def test_one_endpoint_of_a_fleet_with_another_model(running: ExitStack) -> None:
    assert checks_of(running, HashServer(), HashServer(seed="other"))["fleet"].status == "fail"


def test_a_web_page_is_called_one(running: ExitStack) -> None:
    page = Answer(200, b"<html><title>Grafana</title></html>", {"Content-Type": "text/html"})

    class Web(HashServer):
        def other(self, request: Request) -> Answer:
            return page

    checks = checks_of(running, Web(before=lambda _: page))
    assert "Grafana" in checks["server"].came_back
    assert checks["embeddings"].status == "fail"


def test_a_redis_that_is_gone_is_a_warning(running: ExitStack) -> None:
    url = running.enter_context(serve(HashServer()))
    cache = CacheSettings(url=f"redis://:secret-word@127.0.0.1:{closed_port()}/0")
    checks = {check.name: check for check in diagnose(Settings(embedder=settings_for(url), cache=cache))}
    assert checks["cache"].status == "warn"
    assert "secret-word" not in str(checks)


def test_a_check_names_the_line_of_the_configuration(running: ExitStack, tmp_path: Path) -> None:
    url = running.enter_context(serve(HashServer()))
    file = tmp_path / "config.json"
    file.write_text(f'{{"embedder": {{\n  "base_url": "{url}/v1",\n  "model": "hash"\n}}}}', "utf-8")
    lines = {check.name: check.line for check in diagnose(Settings.load(file), config_file=file)}
    assert lines["path"] == 2
    assert lines["model"] == 3
    assert lines["batch"] is None


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("extraction.timeout", 3),
        ("embedder.timeout", 6),
        ("embedder.headers", 7),
        ("embedder.headers.X-Model", 8),
        ("embedder.model", 11),
        ("cache.url", None),
        ("model", 11),
    ],
)
def test_a_key_is_found_in_its_own_section(tmp_path: Path, key: str, line: int | None) -> None:
    file = tmp_path / "config.json"
    lines = [
        '"pdf_knowledge": {',
        '  "extraction": {',
        '    "timeout": 300, "passwords": ["embedder", "model", "}"]',
        "  },",
        '  "embedder": {"base_url": ["http://one/v1", "http://two/v1"],',
        '    "timeout": 60,',
        '    "headers": {',
        '      "X-Model": "model"',
        "    },",
        '    "api_key": "quoted \\" and {",',
        '    "model": "hash"',
        "  }",
        "}",
    ]
    file.write_text("\n".join(lines), "utf-8")
    assert line_of(key, file) == line
