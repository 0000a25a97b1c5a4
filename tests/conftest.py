"""What every test shares: where the sample files lie, and what to do about programs that are missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import SAMPLES, SHARED

from kb.bundled import bundled_server


def pytest_configure() -> None:
    """What tests start can be interrupted, also where the suite runs in the background with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The sample PDFs: real documents under permissive licences."""
    return SAMPLES


@pytest.fixture(scope="session")
def shared() -> Path:
    """The corpus and questions that lie beside the checkout on the machines of this project."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the bundled server with the packaged model, one for the whole run."""
    with bundled_server(log=tmp_path_factory.mktemp("server") / "server.log") as url:
        yield url


def _skipped_for_want_of_a_package(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reasons = [
        str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        for report in (reporter.stats.get("skipped", []) if reporter else [])
    ]
    return [reason for reason in reasons if "Debian package" in reason]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything is said to be installed, a test skipped for want of a Debian package is a failure."""
    if os.environ.get("PDFKB_NOTHING_MISSING") and _skipped_for_want_of_a_package(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if os.environ.get("PDFKB_NOTHING_MISSING"):
        for reason in _skipped_for_want_of_a_package(config):
            terminalreporter.write_line(f"MISSING: {reason}", red=True)
