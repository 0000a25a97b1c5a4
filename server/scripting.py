"""Functions as TorchScript, which run without holding up Python's other threads and can be part of a recorded graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["scripted"]


def scripted(function: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    """The same function as TorchScript; it is deprecated, but what is to come in its place needs a compiler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script: Callable[..., Any] = torch.jit.script(function)
    return script
