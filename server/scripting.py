"""Functions as TorchScript, which run without holding up Python's other threads and can be part of a recorded graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["scripted"]

logger = logging.getLogger(__name__)


def scripted(function: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    """The same function as TorchScript; as it is where that is not to be had, for it is deprecated. What comes in its
    place needs a compiler where the server runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            script: Callable[..., Any] = torch.jit.script(function)
        except RuntimeError as error:
            logger.info("%s computes in Python: %s", function.__name__, error)
            return function
    return script
