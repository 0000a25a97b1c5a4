"""Memory: what is free goes back to the system, what stays is not looked through for garbage."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["made_to_stay", "memory_trimmer"]


def memory_trimmer() -> Callable[[], object]:
    """Gives back what the allocator holds without use; does nothing where there is no glibc. Batches of ever other
    shapes leave holes between what stays, which glibc keeps (huggingface/text-embeddings-inference#156)."""
    try:
        trim: Callable[[int], object] = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        return lambda: None
    return lambda: trim(0)


@contextmanager
def made_to_stay() -> Iterator[None]:
    """What is made meanwhile (a million objects of imports and models) is never looked through for garbage: that would
    take a tenth of the time until the server is ready, and later stop the event loop for as long as one pass takes."""
    gc.disable()
    try:
        yield
    finally:
        gc.collect()  # a model that was tried and not taken, which would stay, too
        gc.freeze()
        gc.enable()
