"""Errors: the guide's first phrase, one line, and five lines in a notebook."""

from __future__ import annotations

import pickle

import pytest

from kb import errors

FAMILIES = [
    (errors.EndpointConnectionError, ConnectionError, "Connection error"),
    (errors.EndpointAuthenticationError, PermissionError, "Authentication error"),
    (errors.EndpointModelError, ValueError, "Model error"),
    (errors.EndpointTimeoutError, TimeoutError, "Timeout error"),
]


@pytest.mark.parametrize(("error", "builtin", "phrase"), FAMILIES)
def test_endpoint_errors_begin_as_the_guide_teaches(
    error: type[errors.KnowledgeBaseError], builtin: type[Exception], phrase: str
) -> None:
    raised = error("refused", where="http://gpu:8000/v1", fix="Start the server.")
    expected = f"[pdf] Failed to setup PDF knowledge base: {phrase}: http://gpu:8000/v1: refused. Start the server."
    assert str(raised) == expected
    assert isinstance(raised, builtin)


def test_an_error_is_one_line_whatever_it_is_told() -> None:
    assert "\n" not in str(errors.StoreError("first\nsecond\n", where="a\nb", fix="c\nd"))


def test_an_error_survives_a_process_border() -> None:
    error = errors.EndpointModelError("gone", where="here", fix="do")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_notebook_shows_a_few_lines() -> None:
    lines = errors.ConfigurationError("unknown key", where="a.json", fix="Mend it.")._render_traceback_()
    assert 1 < len(lines) <= 5


def test_every_public_error_is_exported() -> None:
    public = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert public == set(errors.__all__)
