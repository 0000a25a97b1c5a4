"""What a failure of the model means for what comes after it."""

from __future__ import annotations

__all__ = ["is_beyond_repair", "is_out_of_memory"]

# As CUDA, MPS, cuBLAS and the allocators of CPUs say it.
NO_MEMORY = ("out of memory", "can't allocate", "not enough memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may succeed."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY)


def is_beyond_repair(error: BaseException) -> bool:
    """Whether every later batch will fail too: after such an error CUDA refuses all work of the process."""
    return "CUDA error" in str(error) and not is_out_of_memory(error)
