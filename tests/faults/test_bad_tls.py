"""TLS that cannot be trusted: named, not retried, and no way around it."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kb.config import Settings
from kb.embed import Embedder
from kb.errors import EndpointConnectionError
from kb.health import diagnose
from tests.embed.opening import settings_for
from tests.embed.servers import HashServer, serve

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def certificate(folder: Path, *, ends: datetime.datetime) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - 10 * DAY)
        .not_valid_after(ends)
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, nothing = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, nothing)
    file = folder / "certificate.pem"
    file.write_bytes(signed.public_bytes(encoding) + private)
    return file


def secured(running: ExitStack, file: Path) -> tuple[str, HashServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = HashServer()
    return running.enter_context(serve(server, context=context)), server


def test_an_expired_certificate(running: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate(tmp_path, ends=NOW - DAY)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    url, server = secured(running, file)
    embedder = running.enter_context(Embedder(settings_for(url)))
    with pytest.raises(EndpointConnectionError, match=r"certificate has expired.*Renew"):
        embedder.embed_query("why?")
    assert embedder.usage.retries == 0
    assert not server.requests
    checks = {check.name: check for check in diagnose(Settings(embedder=settings_for(url)))}
    assert checks["TLS"].status == "fail"
    assert "expired" in checks["TLS"].meaning


def test_a_certificate_that_nobody_vouches_for(running: ExitStack, tmp_path: Path) -> None:
    url, server = secured(running, certificate(tmp_path, ends=NOW + DAY))
    embedder = running.enter_context(Embedder(settings_for(url)))
    with pytest.raises(EndpointConnectionError, match=r"self-signed.*SSL_CERT_FILE"):
        embedder.embed_query("why?")
    assert not server.requests


def test_a_certificate_of_ones_own_authority(
    running: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, ends=NOW + DAY)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    url, _ = secured(running, file)
    with Embedder(settings_for(url)) as embedder:
        assert embedder.embed_query("why?").shape == (16,)
    assert {check.status for check in diagnose(Settings(embedder=settings_for(url))) if check.name == "TLS"} == {"ok"}


def test_https_to_a_server_without_tls(running: ExitStack) -> None:
    url = running.enter_context(serve(HashServer())).replace("http://", "https://")
    embedder = running.enter_context(Embedder(settings_for(url)))
    with pytest.raises(EndpointConnectionError, match=r"does not speak TLS.*Write http://"):
        embedder.embed_query("why?")
