"""litellm, imported when first needed and kept quiet: its `hosted_vllm/` route, and its Router for several endpoints.

Why `hosted_vllm/`: it retries nothing by itself, decodes nothing, passes every header and field on, and is the fastest
(tests/embed/test_litellm_contract.py holds the measurements). litellm's own cache and retries are never used: its
cache keys ignore the endpoint, and its retries multiply with ours.
"""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import threading
import warnings
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from kb.embed.wire import WireClient
from kb.importing import quick_imports

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
    """The litellm module, set not to phone home, print, or warn (importing it takes seconds)."""
    with _lock:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings(), quick_imports():
            warnings.simplefilter("ignore")
            litellm: Any = importlib.import_module("litellm")
        # Its Router starts a coroutine that it never awaits when an endpoint is put aside outside an event loop.
        never_awaited = "coroutine 'router_cooldown_event_callback' was never awaited"
        warnings.filterwarnings("ignore", message=never_awaited, category=RuntimeWarning)
        # It builds pydantic models when first used, from any thread, where no catch_warnings reaches.
        warnings.filterwarnings("ignore", module=r"pydantic\.", category=UserWarning)
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
        self._is_internal: ContextVar[bool] = importlib.import_module("litellm._internal_context").is_internal_call
        self._client = handler.HTTPHandler(client=wire)
        # A model without a price is looked up in vain, in eight ways, after every request.
        price = {"litellm_provider": "hosted_vllm", "mode": "embedding", "input_cost_per_token": 0.0}
        self._litellm.register_model({f"hosted_vllm/{model}": price})
        self._turns = itertools.cycle(self._base_urls)
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
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydantic's, on litellm's own types
            return self._litellm.Router(
                model_list=deployments,
                num_retries=0,
                allowed_fails=0,
                cooldown_time=COOLDOWN_SECONDS,
                timeout=self._timeout,
            )

    def embed(
        self, texts: Sequence[str], *, as_list: bool, base64: bool, dimensions: int | None, base_url: str | None = None
    ) -> None:
        """Makes the request; the answer is in the exchange being recorded. Raises whatever litellm raises.

        `base_url` asks that endpoint, past the Router.
        """
        options: dict[str, Any] = {"timeout": self._timeout, "client": self._client}
        options |= {"encoding_format": "base64"} if base64 else {}
        options |= {"dimensions": dimensions} if dimensions is not None else {}
        # hosted_vllm makes a list of a string; extra_body is laid over the body that it builds.
        options |= {} if as_list else {"extra_body": {"input": texts[0]}}
        url, known_as = (base_url, {}) if base_url else self._pick()
        # Else a thread of litellm's computes what each success cost, which takes as long as decoding the vectors.
        token = self._is_internal.set(True)
        try:
            self._litellm.embedding(
                model=f"hosted_vllm/{self._model}",
                input=list(texts),
                api_base=url,
                api_key=NO_KEY,
                caching=False,
                **options,
                **known_as,
            )
        finally:
            self._is_internal.reset(token)

    def _pick(self) -> tuple[str, dict[str, Any]]:
        """The endpoint whose turn it is, and what makes the Router's callback put it aside if it fails.

        Router.embedding would do both, but runs an event loop of its own for each call, in a notebook even a thread.
        """
        if self._router is None:
            return self._base_urls[0], {}
        try:
            chosen = self._router.get_available_deployment(model=GROUP, input=[])
        except Exception:  # every endpoint cools down: any of them is as good as another
            return next(self._turns), {}
        return chosen["litellm_params"]["api_base"], {
            "model_info": chosen["model_info"],
            "metadata": {"model_group": GROUP},
        }

    def close(self) -> None:
        """Take the Router's callbacks out of litellm's global lists."""
        if self._router is not None:
            self._router.discard()
