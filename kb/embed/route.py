"""litellm, imported when first needed and kept quiet: its `hosted_vllm/` route, and its Router for several endpoints.

Why `hosted_vllm/`: it retries nothing by itself, decodes nothing, passes every header and field on, and is the fastest
(tests/embed/test_litellm_contract.py holds the measurements). litellm's own cache and retries are never used: its
cache keys ignore the endpoint, and its retries multiply with ours.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from kb.embed.wire import WireClient

__all__ = ["Route", "load_litellm"]

NO_KEY = "fake-api-key"  # litellm's own word for "send no Authorization"; ours is set on the client, out of its sight
GROUP = "endpoints"
COOLDOWN_SECONDS = 30.0

_lock = threading.Lock()
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else the import fetches a price list from the internet
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
}


def load_litellm() -> Any:
    """The litellm module, set not to phone home, print, or warn (importing it takes 2-3 seconds)."""
    with _lock:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            litellm: Any = importlib.import_module("litellm")
        litellm.suppress_debug_info = True
        litellm.telemetry = False
        litellm.drop_params = False
        litellm.turn_off_message_logging = True
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # its debug lines hold whole texts
    return litellm


class Route:
    """Sends one request body to one endpoint, or to the one of several that litellm's Router picks."""

    def __init__(self, base_urls: Sequence[str], model: str, wire: WireClient, *, timeout: float) -> None:
        self._base_urls, self._model, self._timeout = tuple(base_urls), model, timeout
        self._litellm = load_litellm()
        handler = importlib.import_module("litellm.llms.custom_httpx.http_handler")
        self._client = handler.HTTPHandler(client=wire)
        self._router = self._make_router() if len(self._base_urls) > 1 else None

    def _make_router(self) -> Any:
        deployments = [
            {
                "model_name": GROUP,
                "litellm_params": {"model": f"hosted_vllm/{self._model}", "api_base": url, "api_key": NO_KEY},
                "model_info": {"id": url},
            }
            for url in self._base_urls
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._litellm.Router(
                model_list=deployments,
                num_retries=0,
                allowed_fails=0,
                cooldown_time=COOLDOWN_SECONDS,
                timeout=self._timeout,
            )

    def embed(
        self, texts: Sequence[str], *, as_list: bool, base64: bool, dimensions: int | None, base_url: str | None = None
    ) -> Any:
        """litellm's answer: an object with `data` and `usage`. Raises whatever litellm raises.

        `base_url` asks that endpoint, past the Router.
        """
        options: dict[str, Any] = {"timeout": self._timeout, "client": self._client}
        options |= {"encoding_format": "base64"} if base64 else {}
        options |= {"dimensions": dimensions} if dimensions is not None else {}
        # hosted_vllm makes a list of a string; extra_body is laid over the body that it builds.
        options |= {} if as_list else {"extra_body": {"input": texts[0]}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydantic's serializer warnings, several per answer
            if self._router is not None and base_url is None:
                return self._router.embedding(model=GROUP, input=list(texts), **options)
            return self._litellm.embedding(
                model=f"hosted_vllm/{self._model}",
                input=list(texts),
                api_base=base_url or self._base_urls[0],
                api_key=NO_KEY,
                caching=False,
                **options,
            )

    def close(self) -> None:
        """Take the Router's callbacks out of litellm's global lists."""
        if self._router is not None:
            self._router.discard()


def data_of(answer: Any) -> tuple[list[Mapping[str, Any]], int]:
    """The items of an answer and the prompt tokens it says it used (0 if it says nothing)."""
    items = [item if isinstance(item, Mapping) else item.__dict__ for item in (answer.data or [])]
    return items, int(getattr(answer.usage, "prompt_tokens", 0) or 0)
