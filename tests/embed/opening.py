"""Settings for the tests' servers."""

from __future__ import annotations

from typing import Any

from kb.config import EmbedderSettings

__all__ = ["settings_for"]


def settings_for(*urls: str, **changes: Any) -> EmbedderSettings:
    """Settings for servers at these URLs (without /v1), with retries that take no time."""
    base_urls = [f"{url}/v1" for url in urls]
    fields = {"model": "hash", "timeout": 5.0, "retries": 2, "backoff_factor": 0.01, **changes}
    return EmbedderSettings(base_url=base_urls[0] if len(base_urls) == 1 else tuple(base_urls), **fields)
