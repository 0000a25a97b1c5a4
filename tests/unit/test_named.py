"""A question names documents by words of their files' and folders' names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.search.named import Naming
from kb.store import WordsOfNames

NAMES = [
    "/reports/3M_2018_10K.pdf",
    "/reports/3M_2022_10K.pdf",
    "/reports/AMERICANEXPRESS_2022_10K.pdf",
    "/reports/BOEING_2022_10K.pdf",
    "/reports/Johnson_Johnson_2022Q4.pdf",
    "/reports/role_library.pdf",
    "/reports/M\u0075\u0308ller/2021 Bericht.pdf",  # as macOS writes a ü
]


def names_of(paths: list[str]) -> WordsOfNames:
    documents: Any = {(path, "r"): [SimpleNamespace(path=path)] for path in paths}
    return WordsOfNames(documents)


def best(question: str, paths: list[str] = NAMES) -> list[str]:
    naming = Naming(question, [names_of(paths)])
    shares = {path: naming.share((path, "r")) for path in paths}
    most = max(shares.values())
    return [path.rsplit("/", 1)[-1] for path in paths if most and shares[path] == most]


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("What is the FY2018 capital expenditure of 3M?", ["3M_2018_10K.pdf"]),
        ("capital expenditure of 3m in 2022", ["3M_2022_10K.pdf"]),
        ("Which debt securities does American Express list?", ["AMERICANEXPRESS_2022_10K.pdf"]),
        ("What does the 10-K of Boeing say?", ["BOEING_2022_10K.pdf"]),
        ("sales of Johnson & Johnson", ["Johnson_Johnson_2022Q4.pdf"]),
        ("Was hat Müller 2021 verdient?", ["2021 Bericht.pdf"]),
        ("what is an employee's role", ["role_library.pdf"]),
        ("What is the weather?", []),
    ],
)
def test_the_document_that_a_question_names_has_the_most_of_it(question: str, names: list[str]) -> None:
    assert best(question) == names


def test_small_words_name_nothing_where_names_are_written_large() -> None:
    assert best("Which role has Boeing?") == ["BOEING_2022_10K.pdf"]
    assert best("Which role has the VPAC receptor?") == []


def test_a_word_that_every_name_has_tells_nothing() -> None:
    naming = Naming("reports of boeing", [names_of(NAMES)])
    others = [naming.share((path, "r")) for path in NAMES if "BOEING" not in path]
    assert naming.share((NAMES[3], "r")) > 10 * max(others)


def test_what_a_passage_says_counts_as_its_name_does() -> None:
    naming = Naming("Does Boeing supply 3M?", [names_of(NAMES)])
    boeing, role = (NAMES[3], "r"), (NAMES[5], "r")
    assert naming.share(role) == 0
    assert naming.share(role, "suppliers of BOEING") == pytest.approx(naming.share(boeing))
    assert naming.share(boeing, "parts for 3M") > naming.share(boeing)


def test_two_words_of_one_name_alone_are_all_that_it_takes() -> None:
    naming = Naming("role library", [names_of(NAMES)])
    assert naming.share((NAMES[5], "r")) == pytest.approx(1.0)
    assert Naming("boeing", [names_of(NAMES)]).share((NAMES[3], "r")) == pytest.approx(0.5)


def test_collections_are_looked_at_as_one() -> None:
    naming = Naming("boeing 2018", [names_of(NAMES[:2]), names_of(NAMES[2:])])
    assert naming.share((NAMES[0], "r")) > 0
    assert naming.share((NAMES[3], "r")) > 0


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=12), max_size=5), st.text(max_size=60))
def test_shares_are_between_nothing_and_everything(question: str, paths: list[str], text: str) -> None:
    naming = Naming(question, [names_of(paths)])
    assert all(0.0 <= naming.share((path, "r"), text) <= 1.0 + 1e-9 for path in paths)
