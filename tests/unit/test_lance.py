"""LanceDB is imported without what nothing here uses, which is there for whoever asks for it."""

from __future__ import annotations

import subprocess
import sys

IMPORTING = """
import sys
import kb.store

CLIENT = "lance_namespace_urllib3_client"
print(f"{CLIENT}.api.table_api" in sys.modules)

import lance_namespace, lance_namespace_urllib3_client
print(lance_namespace_urllib3_client.TableApi.__name__)
print(lance_namespace_urllib3_client.ListTablesResponse is lance_namespace.ListTablesResponse)
print(lance_namespace.ListTablesResponse(tables=["a"]).tables)
"""


def test_the_client_of_the_catalogue_is_imported_by_whoever_uses_it() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTING], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["False", "TableApi", "True", "['a']"]
