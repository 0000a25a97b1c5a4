"""Memory: what batches free is used again, what is free for long goes back, what stays is not looked for garbage."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["made_to_stay", "memory_trimmer", "reuse_memory"]

# Parameters of glibc's mallopt, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGEST_TENSOR = 1 << 30
NEVER = (1 << 31) - 1


def reuse_memory() -> None:
    """Lets the allocator keep what a batch frees for the next one, instead of asking the system for the same tens of
    megabytes again, which the system fills with zeros page by page: a fifth to a third of a batch's time (all-MiniLM-
    L6-v2 in bfloat16 on 2 cores, 4,096 tokens: 21,163 page faults became 192, and 229 ms 195). One arena, for the heaps
    of others end at 64 MB. Call it before threads are started; does nothing where there is no glibc."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in ((M_MMAP_THRESHOLD, LARGEST_TENSOR), (M_TRIM_THRESHOLD, NEVER), (M_ARENA_MAX, 1)):
        mallopt(parameter, value)


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
