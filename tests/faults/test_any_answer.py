"""Whatever comes back: vectors that are right, or an error of ours that says so, never anything else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kb.embed.answers import came_as_base64, items_of, tokens_of, vectors_of
from kb.embed.failures import failure_of
from kb.embed.wire import Exchange
from kb.errors import EndpointError
from tests.embed.opening import settings_for

NUMBERS = st.integers() | st.floats() | st.booleans() | st.none()
ANYTHING = st.recursive(
    NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "index", "x"]), inner),
    max_leaves=8,
)
EMBEDDINGS = st.lists(st.floats(-2, 2), min_size=1, max_size=3) | st.lists(NUMBERS, max_size=3) | ANYTHING
ITEMS = st.fixed_dictionaries(
    {}, optional={"index": st.integers(-1, 3) | NUMBERS, "embedding": EMBEDDINGS, "object": st.just("embedding")}
)
ANSWERS = st.fixed_dictionaries(
    {"data": st.lists(ITEMS, max_size=3) | ANYTHING}, optional={"usage": ANYTHING, "model": ANYTHING}
)
PLACES = ["http://[", "http://host:port/", "//", "https://user:secret@other/v1/embeddings?key=secret"]


@given(ANSWERS, st.integers(1, 3))
def test_any_answer_gives_sound_vectors_or_a_value_error(answer: dict[str, Any], texts: int) -> None:
    assert tokens_of(answer) is not None
    try:
        items = items_of(answer)
        came_as_base64(items)
        vectors = vectors_of(items, texts)
    except ValueError:
        return
    assert vectors.shape[0] == texts
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert (np.abs(vectors).sum(axis=1) > 0).all()


@given(
    st.integers(200, 599),
    st.binary(max_size=60) | ANYTHING.map(lambda value: repr(value).encode("utf-8", "surrogatepass")),
    st.fixed_dictionaries(
        {},
        optional={
            "retry-after": st.text(max_size=30),
            "location": st.text(max_size=30) | st.sampled_from(PLACES),
            "content-type": st.text(),
        },
    ),
)
def test_any_refusal_is_an_error_of_ours(status: int, body: bytes, headers: dict[str, str]) -> None:
    exchange = Exchange(5.0, url="http://host:1/v1/embeddings", status=status, headers=headers, body=body)
    failure = failure_of(exchange, ValueError("x"), settings_for("http://host:1"), ["one text", "another text"])
    assert isinstance(failure.error, EndpointError)
    assert "\n" not in str(failure.error)
    assert failure.error.fix
    assert "secret" not in str(failure.error)
    assert failure.retry_after is None or (failure.retry_after >= 0 and math.isfinite(failure.retry_after))
