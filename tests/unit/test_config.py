"""The configuration: the guide's snippets, precedence, secrets, and what it says about mistakes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from kb.config import Settings
from kb.errors import ConfigurationError

GUIDE_SNIPPET = """
"pdf_knowledge": {
  "embedder": {
    "type": "custom",
    "base_url": "http://your-gpu-cluster:8000/v1",
    "model": "your-embedding-model",
    "api_key": "your-api-key",
    "timeout": 60
  }
}
"""
GUIDE_EMBEDDER = {
    "type": "custom",
    "base_url": "http://your-gpu-cluster:8000/v1",
    "model": "your-embedding-model",
    "api_key": "your-api-key",
    "headers": {"Authorization": "Bearer your-token", "X-Custom-Header": "value"},
    "timeout": 60,
    "retries": 3,
    "backoff_factor": 2,
}


@pytest.fixture(autouse=True)
def _no_configuration_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PDF_KNOWLEDGE_CONFIG", raising=False)


def write(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "config.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return file


def problem(tmp_path: Path, content: object, **arguments: dict[str, object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(write(tmp_path, content), **arguments)
    return str(caught.value)


# --- the guide's snippets --------------------------------------------------------------------------------------------


def test_the_guides_fragment_loads_word_for_word(tmp_path: Path) -> None:
    embedder = Settings.load(write(tmp_path, GUIDE_SNIPPET)).embedder
    assert embedder.base_url == "http://your-gpu-cluster:8000/v1"
    assert embedder.model == "your-embedding-model"
    assert embedder.api_key is not None
    assert embedder.api_key.get_secret_value() == "your-api-key"
    assert embedder.timeout == 60


@pytest.mark.parametrize(
    "content",
    [
        {"embedder": GUIDE_EMBEDDER},
        {"pdf_knowledge": {"embedder": GUIDE_EMBEDDER}},
        {"pdf_knowledge": {"embedder": GUIDE_EMBEDDER}, "logging": {"level": "DEBUG"}},
        '"pdf_knowledge": ' + json.dumps({"embedder": GUIDE_EMBEDDER}),
        '"pdf_knowledge": ' + json.dumps({"embedder": GUIDE_EMBEDDER}) + ",",
    ],
    ids=["embedder", "parent", "both keys", "fragment", "fragment with comma"],
)
def test_every_shape_of_the_full_snippet_gives_the_same_embedder(tmp_path: Path, content: object) -> None:
    embedder = Settings.load(write(tmp_path, content)).embedder
    headers = {name: value.get_secret_value() for name, value in embedder.headers.items()}
    assert headers == GUIDE_EMBEDDER["headers"]
    assert (embedder.retries, embedder.backoff_factor) == (3, 2)


def test_the_logging_snippet_loads_alone(tmp_path: Path) -> None:
    assert Settings.load(write(tmp_path, '{"logging": {"level": "DEBUG"}}')).logging.level == "DEBUG"


def test_base_url_may_be_a_list(tmp_path: Path) -> None:
    settings = Settings.load(write(tmp_path, {"embedder": {"base_url": ["http://a:1/v1", "http://b:1/v1/"]}}))
    assert settings.embedder.base_urls == ("http://a:1/v1", "http://b:1/v1")


# --- precedence ------------------------------------------------------------------------------------------------------


def test_a_file_wins_over_the_defaults(tmp_path: Path) -> None:
    assert Settings.load(write(tmp_path, {"embedder": {"timeout": 7}})).embedder.timeout == 7


def test_the_environment_wins_over_the_file_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDF_KNOWLEDGE__EMBEDDER__BASE_URL", "http://elsewhere:9/v1")
    embedder = Settings.load(write(tmp_path, {"embedder": {"base_url": "http://here:1/v1", "model": "m"}})).embedder
    assert (embedder.base_url, embedder.model) == ("http://elsewhere:9/v1", "m")


def test_arguments_win_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDF_KNOWLEDGE__EMBEDDER__TIMEOUT", "8")
    settings = Settings.load(write(tmp_path, {"embedder": {"timeout": 7}}), embedder={"timeout": 9})
    assert settings.embedder.timeout == 9


def test_a_config_folder_is_found_from_a_folder_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "pdf_knowledge.json").write_text('{"embedder": {"model": "found"}}')
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert Settings.load().embedder.model == "found"


def test_the_store_lies_beside_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    file = write(tmp_path, {"storage": {"uri": "vectors"}})
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Settings.load(file).storage.uri == str(tmp_path / "vectors")


def test_a_store_named_by_an_argument_lies_in_the_current_folder(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "config.json"
    file.parent.mkdir()
    file.write_text("{}")
    assert Settings.load(file, storage={"uri": "vectors"}).storage.uri == str(tmp_path / "vectors")


# --- variables and secrets -------------------------------------------------------------------------------------------


def test_a_variable_in_a_value_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDER_API_KEY", "from-outside")
    key = Settings.load(write(tmp_path, {"embedder": {"api_key": "${EMBEDDER_API_KEY}"}})).embedder.api_key
    assert key is not None
    assert key.get_secret_value() == "from-outside"


def test_a_variable_may_have_a_default(tmp_path: Path) -> None:
    assert Settings.load(write(tmp_path, {"embedder": {"model": "${NO_SUCH:-mini}"}})).embedder.model == "mini"


def test_a_missing_variable_is_named_with_its_key(tmp_path: Path) -> None:
    message = problem(tmp_path, {"embedder": {"api_key": "${NO_SUCH_VARIABLE}"}})
    assert "NO_SUCH_VARIABLE" in message
    assert "embedder.api_key" in message


def test_secrets_show_in_no_repr(tmp_path: Path) -> None:
    settings = Settings.load(
        write(tmp_path, {"embedder": GUIDE_EMBEDDER, "extraction": {"passwords": ["open-sesame"]}})
    )
    shown = repr(settings) + str(settings) + settings.model_dump_json()
    for secret in ("your-api-key", "your-token", "open-sesame"):
        assert secret not in shown


@pytest.mark.parametrize(
    "embedder",
    [
        {"api_key": ["sekret-1"]},
        {"headers": {"Authorization": ["sekret-1"]}},
        {"headers": "sekret-1"},
        {"base_url": "http://user:sekret-1@host/v1"},
    ],
)
def test_a_wrong_secret_is_refused_without_repeating_it(
    tmp_path: Path, embedder: object, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert "sekret-1" not in problem(tmp_path, {"embedder": embedder})
    assert "sekret-1" not in caplog.text


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "wrong", "nearest"),
    [
        ({"embedder": {"base_ulr": "x"}}, "embedder.base_ulr", "embedder.base_url"),
        ({"embedder": {"url": "x"}}, "embedder.url", "embedder.base_url"),
        ({"embeder": {}}, "embeder", "embedder"),
        ({"model": "x"}, "model", "embedder.model"),
        ({"pdf_knowledge": {"embedder": {"backoff": 2}}}, "embedder.backoff", "embedder.backoff_factor"),
        ({"chunking": {"timeout": 2}}, "chunking.timeout", "embedder.timeout"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path, content: object, wrong: str, nearest: str) -> None:
    message = problem(tmp_path, content)
    assert f"{wrong}: unknown key" in message
    assert message.endswith(f"Did you mean {nearest}?")


def test_an_unknown_key_in_the_environment_is_an_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDF_KNOWLEDGE__EMBEDDER__MODLE", "x")
    assert "Did you mean PDF_KNOWLEDGE__EMBEDDER__MODEL?" in problem(tmp_path, {})


def test_a_wrong_value_names_file_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    message = problem(tmp_path, {"embedder": {"timeout": -5}})
    assert str(tmp_path / "config.json") in message
    assert "embedder.timeout" in message
    assert "-5" in message
    assert "greater than 0" in message


def test_a_wrong_value_in_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDF_KNOWLEDGE__EMBEDDER__RETRIES", "many")
    message = problem(tmp_path, {})
    assert "PDF_KNOWLEDGE__EMBEDDER__RETRIES" in message
    assert "'many'" in message


def test_a_wrong_argument_is_called_an_argument(tmp_path: Path) -> None:
    assert "argument search.limit" in problem(tmp_path, {}, search={"limit": 0})


def test_broken_json_names_line_and_column(tmp_path: Path) -> None:
    assert "line 2, column" in problem(tmp_path, '{"embedder":\n {"model" "x"}}')


def test_a_key_given_twice_is_an_error(tmp_path: Path) -> None:
    assert "'model' is there twice" in problem(tmp_path, '{"embedder": {"model": "a", "model": "b"}}')


def test_a_section_inside_and_beside_the_parent_is_an_error(tmp_path: Path) -> None:
    content = {"pdf_knowledge": {"embedder": {"model": "a"}}, "embedder": {"model": "b"}}
    assert "both inside pdf_knowledge and beside it" in problem(tmp_path, content)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        Settings.load(tmp_path / "absent.json")
