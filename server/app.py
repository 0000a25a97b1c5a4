"""The life of the server: the port opens, the models load, requests are answered, SIGTERM drains."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn

from server.api import make_app
from server.config import ServerConfig
from server.connections import HttpServer, allow_connections
from server.logs import set_up_logs
from server.memory import memory_trimmer
from server.protocol import Protocol
from server.serving import Serving

__all__ = ["run"]

logger = logging.getLogger(__name__)

# The model's thread holds the GIL between its operations; at the default of 5 ms requests would wait on it by turns.
SWITCH_SECONDS = 0.0005
TRIM_SECONDS = 5.0


def run(config: ServerConfig) -> int:
    """Serves until SIGTERM or SIGINT. Exit status: 0 ended as asked, 1 a model or the port could not be had."""
    set_up_logs(config.log_level, config.log_format)
    allow_connections()
    try:
        listener = _listen(config)
    except OSError as error:
        print(f"cannot listen on {config.host}:{config.port}: {error.strerror or error}", file=sys.stderr)
        return 1
    sys.setswitchinterval(SWITCH_SECONDS)
    # Closing it would wait for a model that is still loading. The process ends with all that is in it (__main__).
    return asyncio.Runner(loop_factory=_loop_factory()).run(_serve(config, listener))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed (it is not for Windows)."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


def _listen(config: ServerConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((config.host, config.port))
    listener.listen(2048)
    return listener


async def _serve(config: ServerConfig, listener: socket.socket) -> int:
    serving = Serving(config)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    names = ", ".join(source.names[0] for source in config.models)
    print(f"Serving {names} at {url}/v1 (loading …)", flush=True)
    ending = asyncio.Event()
    # Our own signal handling: uvicorn's would end the connections before the queue is drained.
    server = HttpServer(
        uvicorn.Config(
            make_app(serving),
            http=Protocol,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,  # after our own draining; a batch that hangs must not keep the process
        ),
        hurry=ending,
    )
    serving_task = asyncio.create_task(server._serve([listener]))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    watching = [asyncio.create_task(serving.watch()), asyncio.create_task(_trim_memory())]
    loading = asyncio.create_task(asyncio.to_thread(serving.load))
    status = await _until_ended(config, serving, url, loading, ending)
    ending.clear()
    await serving.drain(hurry=ending)  # who asks a second time does not want to wait
    for task in watching:
        task.cancel()
    server.should_exit = True
    await serving_task
    await asyncio.to_thread(serving.close)
    if config.ready_file:
        config.ready_file.unlink(missing_ok=True)
    return status


async def _trim_memory() -> None:
    trim = memory_trimmer()
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        await asyncio.to_thread(trim)


async def _until_ended(
    config: ServerConfig, serving: Serving, url: str, loading: asyncio.Task[None], ending: asyncio.Event
) -> int:
    ended = asyncio.create_task(ending.wait())
    await asyncio.wait([loading, ended], return_when=asyncio.FIRST_COMPLETED)
    if loading.done() and loading.exception() is not None:
        logger.error("The server ends: %s", loading.exception())
        ended.cancel()
        return 1
    if not ending.is_set():
        for served in serving.served_models():
            print(f"Ready: {served.summary}", flush=True)
        if config.ready_file:
            _write_ready(config.ready_file, url)
        await ended
    return 0


def _write_ready(file: Path, url: str) -> None:
    """In one step, so that whoever waits for it never reads half of it."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps({"url": url, "pid": os.getpid()}), "utf-8")
    partial.replace(file)
