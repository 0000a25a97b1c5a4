"""What is imported in less time is what it would have been."""

from __future__ import annotations

import gc
import importlib
from concurrent.futures import ThreadPoolExecutor

import pydantic
import pytest

from kb.importing import quick_imports


def test_data_types_check_what_they_are_given_from_every_thread() -> None:
    with quick_imports():

        class Inner(pydantic.BaseModel):
            number: int

        class Outer(pydantic.BaseModel):
            inner: Inner

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda number: Outer(inner={"number": str(number)}), range(64)))
    assert [outer.inner.number for outer in made] == list(range(64))
    with pytest.raises(pydantic.ValidationError):
        Outer(inner={"number": "none"})


def import_what_is_not_there() -> None:
    with quick_imports():
        assert not gc.isenabled()
        importlib.import_module("no_such_module")


def test_afterwards_everything_is_as_it_was() -> None:
    with pytest.raises(ImportError, match="no_such_module"):
        import_what_is_not_there()
    assert gc.isenabled()

    class Later(pydantic.BaseModel):
        number: int

    assert Later.__pydantic_complete__
    assert "defer_build" not in Later.model_config


def test_whoever_has_switched_the_collection_off_finds_it_off() -> None:
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
