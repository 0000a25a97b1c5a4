"""LanceDB is imported without what takes half of the time, and nothing else is changed by that."""

from __future__ import annotations

import subprocess
import sys

import pydantic
import pytest

from kb.store.lance import _but_for_the_client

IMPORTING = """
import pydantic
before = pydantic.validate_call
import kb.store
from lance_namespace_urllib3_client.api.table_api import TableApi
print(pydantic.validate_call is before, hasattr(TableApi.count_table_rows, "raw_function"))
"""


def test_the_client_of_the_catalogue_is_spared_and_pydantic_is_as_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTING], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_what_others_import_meanwhile_is_checked_as_ever() -> None:
    @_but_for_the_client
    def bare(number: int) -> int:
        return number

    @_but_for_the_client(validate_return=True)
    def with_options(number: int) -> int:
        return number

    for function in (bare, with_options):
        assert function("3") == 3
        with pytest.raises(pydantic.ValidationError):
            function("three")
