"""Requests that got no answer: why, by the root cause under httpx's exceptions."""

from __future__ import annotations

import errno
import socket
import ssl
from urllib.parse import urlsplit

import httpx

from kb.config import EmbedderSettings
from kb.embed.reach import proxy_for
from kb.embed.wire import Exchange
from kb.errors import EndpointConnectionError, EndpointError, EndpointModelError, EndpointTimeoutError

__all__ = ["certificate_problem", "unanswered"]

Explained = tuple[EndpointError, bool]  # the error, and whether the same request may succeed later


def unanswered(exchange: Exchange, failure: BaseException, where: str, settings: EmbedderSettings) -> Explained:
    """The error of a request without (whole) answer, and whether it is worth another attempt."""
    slow = f"Raise embedder.timeout ({settings.timeout:g} s), lower embedder.batch_size, or check the server's speed."
    match failure:
        case httpx.ConnectTimeout():
            fix = "Check embedder.base_url and the network: host, port, firewall."
            return EndpointTimeoutError(f"no connection within {settings.timeout:g} s", where=where, fix=fix), True
        case httpx.TimeoutException():
            return EndpointTimeoutError(
                f"no complete answer within {settings.timeout:g} s", where=where, fix=slow
            ), True
        case httpx.ProxyError():
            return EndpointConnectionError(f"the proxy refuses: {failure}", where=where, fix=PROXY_FIX), True
        case httpx.DecodingError():
            fix = "A proxy before the server may be altering answers."
            return EndpointModelError(f"the answer is damaged: {failure}", where=where, fix=fix), False
        case httpx.ConnectError():
            return _no_connection(failure, where, settings)
        case httpx.RemoteProtocolError():
            return _broken_off(exchange, failure, where)
        case httpx.NetworkError():
            what = f"the connection broke ({_root(failure)})"
            return EndpointConnectionError(what, where=where, fix=BROKEN_FIX), True
    what = f"{type(failure).__name__}: {str(failure)[:200]}"
    fix = "Verify embedder.base_url, and that nothing stands between here and the server."
    return EndpointConnectionError(what, where=where, fix=fix), False


PROXY_FIX = "See the environment variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY."
BROKEN_FIX = "The server or a proxy closed it: see whether the server crashed (its log, its memory)."


def _no_connection(failure: httpx.ConnectError, where: str, settings: EmbedderSettings) -> Explained:
    url = where.partition(" ")[2]
    parts = urlsplit(url)
    root = _root(failure)
    if isinstance(root, ssl.SSLError):
        what, fix = certificate_problem(root)
        return EndpointConnectionError(what, where=where, fix=fix), False
    if proxy := proxy_for(url):
        reason = getattr(root, "strerror", None) or str(root)
        what = f"no connection to the proxy {proxy} ({reason})"
        return EndpointConnectionError(what, where=where, fix=PROXY_FIX), True
    if isinstance(root, socket.gaierror):
        what = f"the host name {parts.hostname!r} is not known ({root.strerror})"
        fix = "Verify embedder.base_url for a typing error, and the network's name service (DNS, VPN)."
        return EndpointConnectionError(what, where=where, fix=fix), root.errno == socket.EAI_AGAIN
    if isinstance(root, OSError) and root.errno == errno.ECONNREFUSED:
        what = (
            f"connection refused: nothing listens on port {parts.port or ('443' if parts.scheme == 'https' else '80')}"
        )
        fix = "Verify embedder.base_url and that the server is running there and has finished starting."
        return EndpointConnectionError(what, where=where, fix=fix), True
    fix = "Verify embedder.base_url and the network, and that the server is running there."
    return EndpointConnectionError(f"no connection: {root}", where=where, fix=fix), True


def certificate_problem(error: ssl.SSLError) -> tuple[str, str]:
    """What is wrong with TLS, and the fix."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"the TLS certificate is not accepted: {error.verify_message}"
        if "expired" in error.verify_message:
            return what, "Renew the server's certificate (or set this machine's clock)."
        return what, "Point the environment variable SSL_CERT_FILE at the certificate authority that signed it."
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "the server does not speak TLS on that port", "Write http:// in place of https:// in embedder.base_url."
    return f"TLS failed: {error.reason or error}", "See the server's TLS settings."


def _broken_off(exchange: Exchange, failure: httpx.RemoteProtocolError, where: str) -> Explained:
    said = str(failure)
    if "illegal" in said or "status line" in said:
        fix = "Verify scheme and port in embedder.base_url: https:// where the server speaks TLS."
        return EndpointConnectionError("what answers does not speak HTTP", where=where, fix=fix), False
    what = "it closed the connection " + ("in the middle of its answer" if "body" in said else "without an answer")
    return EndpointConnectionError(what, where=where, fix=BROKEN_FIX), True


def _root(error: BaseException) -> BaseException:
    """What the operating system or TLS said, under the wrappings of httpx and httpcore (which cuts its causes off)."""
    seen = error
    while not isinstance(seen, OSError):
        under = seen.__cause__ or seen.__context__
        if under is None:
            return error
        seen = under
    return seen
