"""A server with a model from disk speaks to nobody but its clients: no hub, no telemetry, no list of anything."""

from __future__ import annotations

import os
from pathlib import Path

from server_running import start_server

# Read by Python itself at the start of the process.
HOOK = """
import ipaddress, sys

def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        where = arguments[1][0]
    elif event == "socket.getaddrinfo":
        where = arguments[0]
    else:
        return
    try:
        inside = ipaddress.ip_address(where).is_loopback
    except ValueError:
        inside = where in (None, "localhost")
    if not inside:
        print("OUTSIDE", where, flush=True)
        raise OSError("no network in this test")

sys.addaudithook(watch)
print("WATCHED", flush=True)
"""


def test_it_never_leaves_the_machine(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    server = start_server(tmp_path, environment={"PYTHONPATH": path}, from_nothing=True)
    try:
        assert server.embed(["a text", "another"]).status_code == 200
        assert server.client.get("/metrics").status_code == 200
    finally:
        assert server.stop() == 0
    said = server.log.read_text()
    assert "WATCHED" in said
    assert "OUTSIDE" not in said
