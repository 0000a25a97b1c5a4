"""A title is what a person gave, not what a program wrote in its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.extract.titles import given_title


@pytest.mark.parametrize(
    ("told", "title"),
    [
        ("Annual Report 2022", "Annual Report 2022"),
        ("1984", "1984"),
        ("10-K - 02/07/2019 - 3M Company", "10-K - 02/07/2019 - 3M Company"),
        ("Title IX", "Title IX"),
        ("年度报告", "年度报告"),
        ("Microsoft Word - Benefits 2024.docx", "Benefits 2024"),
        ("Microsoft PowerPoint - Sales.ppt", "Sales"),
        ("brochure.indd", "brochure"),
        ("Microsoft Word - Document1", ""),
        ("0001018724-18-000005", ""),
        ("20230415_1022", ""),
        ("Untitled", ""),
        ("PowerPoint Presentation", ""),
        ("Document", ""),
        ("", ""),
    ],
)
def test_what_a_program_wrote_is_no_title(told: str, title: str) -> None:
    assert given_title(told) == title


@given(st.text(max_size=80))
def test_a_title_is_a_part_of_what_was_told(told: str) -> None:
    assert given_title(told) in told
