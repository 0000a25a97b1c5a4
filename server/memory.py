"""Memory that is free goes back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

__all__ = ["memory_trimmer"]


def memory_trimmer() -> Callable[[], object]:
    """Gives back what the allocator holds without use; does nothing where there is no glibc. Batches of ever other
    shapes leave holes between what stays, which glibc keeps (huggingface/text-embeddings-inference#156)."""
    try:
        trim: Callable[[int], object] = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        return lambda: None
    return lambda: trim(0)
