"""The description of the API is what the server does: requests made from it by chance, answers held against it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import ROOT
from server_running import RunningServer
from test_bad_input import VALUES

from server.access import Access
from server.api import ENDPOINTS
from server.config import make_parser
from server.config_docs import flags_table
from server.documentation import schema

DESCRIBED = schema((path, item.method, "", item.access) for item in ENDPOINTS for path in item.paths)
OPERATIONS = {(method, path): it for path, methods in DESCRIBED["paths"].items() for method, it in methods.items()}
POSTS = [path for method, path in OPERATIONS if method == "post"]
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def like(described: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a JSON schema allows, as far as ours go."""
    if "oneOf" in described:
        return st.one_of(*map(like, described["oneOf"]))
    if "enum" in described:
        return st.sampled_from(described["enum"])
    kinds = described["type"] if isinstance(described["type"], list) else [described["type"]]
    simple = {
        "string": st.text(max_size=30),
        "integer": st.integers(described.get("minimum", -(2**63)), 2**63 - 1) | st.integers(0, 40_000),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    if kinds == ["array"]:
        return st.lists(like(described["items"]), min_size=described.get("minItems", 0), max_size=4)
    if kinds == ["object"]:
        fields = {name: like(value) for name, value in described["properties"].items()}
        needed = {name: fields.pop(name) for name in described["required"]}
        return st.fixed_dictionaries(needed, optional=fields)
    return st.one_of(*(simple[kind] for kind in kinds))


def body_of(path: str) -> dict[str, Any]:
    body: dict[str, Any] = OPERATIONS["post", path]["requestBody"]["content"]["application/json"]["schema"]
    return body


def assert_as_described(method: str, path: str, status: int, kind: str, answer: Any) -> None:
    responses = OPERATIONS[method, path]["responses"]
    assert str(status) in responses
    assert status < 500, answer
    for media_type, content in responses[str(status)].get("content", {}).items():
        assert kind == media_type
        jsonschema.validate(answer, content["schema"] | {"components": DESCRIBED["components"]})


@pytest.mark.parametrize("path", POSTS)
@QUICK
@given(data=st.data())
def test_what_the_description_allows_is_answered_as_it_says(server: RunningServer, path: str, data: Any) -> None:
    body = data.draw(like(body_of(path)))
    response = server.client.post(path, json=body)
    assert_as_described("post", path, response.status_code, response.headers["content-type"], response.json())


@pytest.mark.parametrize("path", POSTS)
@QUICK
@given(data=st.data())
def test_what_it_does_not_allow_is_refused_as_it_says(server: RunningServer, path: str, data: Any) -> None:
    body = data.draw(like(body_of(path)))
    body[data.draw(st.sampled_from(sorted(body_of(path)["properties"])))] = data.draw(VALUES)
    response = server.client.post(path, json=body)
    assert_as_described("post", path, response.status_code, response.headers["content-type"], response.json())


@pytest.mark.parametrize("path", [path for method, path in OPERATIONS if method == "get" and path != "/metrics"])
def test_what_can_be_got_is_as_described(server: RunningServer, path: str) -> None:
    response = server.client.get(path)
    assert response.status_code == 200
    assert_as_described("get", path, 200, response.headers["content-type"], response.json())


def test_the_running_server_describes_itself_so(server: RunningServer) -> None:
    served = server.client.get("/openapi.json").json()
    assert set(served["paths"]) == set(DESCRIBED["paths"])
    assert served["components"] == DESCRIBED["components"]
    assert {path for path in served["paths"] if "security" not in next(iter(served["paths"][path].values()))} == {
        path for item in ENDPOINTS if item.access is Access.OPEN for path in item.paths
    }


# --- flags -----------------------------------------------------------------------------------------------------------


def test_the_readmes_table_of_flags_is_the_code() -> None:
    assert flags_table() in (ROOT / "README.md").read_text("utf-8"), "run: python -m server.config_docs"


def test_every_flag_says_what_it_means() -> None:
    assert [action.dest for action in make_parser()._actions if not action.help] == []


@pytest.mark.parametrize(
    ("flag", "status"),
    [
        ("max_texts", 400), ("max_body_mb", 413), ("max_queued_tokens", 429), ("max_requests", 429),
        ("request_timeout", 504), ("body_timeout", 408), ("drain_timeout", 503),
    ],
)  # fmt: skip
def test_every_limit_has_a_default_and_says_its_status(flag: str, status: int) -> None:
    [limit] = [action for action in make_parser()._actions if action.dest == flag]
    assert limit.default > 0
    assert str(status) in str(limit.help)
    assert str(status) in OPERATIONS["post", "/v1/embeddings"]["responses"]
