"""Connections: room for many, and none lost at the end."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

import uvicorn

from server.protocol import Protocol

__all__ = ["HttpServer", "allow_connections"]

# Each is an open file, of which a process has 1,024 on most systems until it asks for more.
OPEN_FILES = 65_536
LINGER_SECONDS = 3.0


def allow_connections() -> None:
    """Asks for as many open files as the system gives unasked; Windows counts none."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class HttpServer(uvicorn.Server):
    """uvicorn's, but that whoever has a connection is answered when it ends. Whoever comes later is refused, and so
    knows that nothing was done."""

    def __init__(self, config: uvicorn.Config, hurry: asyncio.Event) -> None:
        super().__init__(config)
        self._hurry = hurry

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends every connection, at once when there is a `hurry`."""
        await self._stop_listening(sockets or [])
        while not self._hurry.is_set() and self._may_be_used():
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    async def _stop_listening(self, listeners: list[socket.socket]) -> None:
        """Lets in those whom the kernel has let in: it would reset them, with what they have sent, with the port."""
        waiting = []
        for listener in listeners:
            with suppress(OSError):  # nobody else is waiting, or there is no room for more
                while True:
                    waiting.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        for connection in waiting:
            with suppress(OSError):  # it has gone meanwhile
                await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> Protocol:
        return Protocol(config=self.config, server_state=self.server_state, app_state={})

    def _may_be_used(self) -> bool:
        """A client that has just been answered may be sending its next request, which the end of the connection would
        cross; the answer will be that the server is ending, and that this was the last one over this connection."""
        since = asyncio.get_running_loop().time() - LINGER_SECONDS
        return any(isinstance(one, Protocol) and one.used_at > since for one in self.server_state.connections)
