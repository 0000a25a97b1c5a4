"""Connections: room for many, and none lost at the end."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

import uvicorn

__all__ = ["HttpServer", "allow_connections"]

# Each is an open file, of which a process has 1,024 on most systems until it asks for more.
OPEN_FILES = 65_536


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
    """uvicorn's, which answers whoever has a connection when it ends. Whoever comes later is refused, and so knows that
    nothing was done."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets in those whom the kernel has let in: it would reset them, with what they have sent, with the port."""
        waiting = []
        for listener in sockets or []:
            with suppress(OSError):  # nobody else is waiting, or there is no room for more
                while True:
                    waiting.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        for connection in waiting:
            with suppress(OSError):  # it has gone meanwhile
                await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        make = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state={})  # type: ignore[call-arg]
