"""LanceDB, imported in half of its time: a second of every process.

It brings a generated client of a REST catalogue along, which nothing here uses, and half of importing it went into
checks of the arguments of that client's functions. Imported before this, LanceDB is as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pydantic

__all__: list[str] = []

CLIENT = "lance_namespace_urllib3_client"

_validate_call = pydantic.validate_call


def _but_for_the_client(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """What pydantic's decorator does, for every other module that is imported meanwhile too."""
    if function is None:
        return _validate_call(**options)
    if function.__module__.startswith(CLIENT):
        return function
    return _validate_call(function, **options)


pydantic.validate_call = _but_for_the_client
try:
    import lancedb  # noqa: F401
finally:
    pydantic.validate_call = _validate_call
