"""The way to an endpoint, step by step: name, connection, TLS. Each step raises an OSError of its own."""

from __future__ import annotations

import os
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

__all__ = ["Place", "connect", "handshake", "place_of", "proxy_for", "resolve"]


@dataclass(frozen=True)
class Place:
    """Where a URL leads."""

    host: str
    port: int
    tls: bool


def place_of(url: str) -> Place:
    """Host, port and scheme of a URL."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    return Place(parts.hostname or "", parts.port or (443 if tls else 80), tls)


def proxy_for(url: str) -> str:
    """Host and port of the proxy that the environment sets for this URL, "" for none; never its password."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return urlsplit(proxy).netloc.rpartition("@")[2]


def resolve(place: Place) -> list[str]:
    """The addresses of the host. Raises socket.gaierror."""
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def connect(place: Place, timeout: float) -> float:
    """Seconds to open a connection. Raises OSError."""
    started = time.perf_counter()
    with socket.create_connection((place.host, place.port), timeout):
        return time.perf_counter() - started


def handshake(place: Place, timeout: float) -> str:
    """TLS version and the day until which the certificate holds. Raises ssl.SSLError or OSError."""
    context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
    with (
        socket.create_connection((place.host, place.port), timeout) as plain,
        context.wrap_socket(plain, server_hostname=place.host) as secured,
    ):
        certificate = secured.getpeercert() or {}
        return f"{secured.version()}, certificate until {certificate.get('notAfter', '?')}"
