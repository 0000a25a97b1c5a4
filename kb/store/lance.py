"""LanceDB, imported in half of its time: nearly two seconds of every process.

It brings a generated client of a REST catalogue along, of which it takes the data types and nothing here uses anything;
importing the client's functions, 40,000 lines, waits here until somebody asks for one. Imported before this, LanceDB is
as it is.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from kb.importing import quick_imports

__all__: list[str] = []

CLIENT = "lance_namespace_urllib3_client"


def _import_when_used(name: str) -> None:
    """Makes an installed package known whose own file runs when something of it is asked for, not when one of its
    modules is imported."""
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def run_and_get(attribute: str) -> Any:
        del package.__getattr__
        loader.exec_module(package)
        return getattr(package, attribute)

    package.__getattr__ = run_and_get  # type: ignore[method-assign]
    sys.modules[name] = package


_import_when_used(CLIENT)
with quick_imports():
    import lancedb  # noqa: F401
