"""What tells one model from another, however it is called: where it comes from, and what it makes of fixed texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["provenance"]

PROBES, NUMBERS, DIGITS = 3, 8, 4


def provenance(encoder: Any, canaries: NDArray[np.float32], *, backend: str, asked: str | None) -> dict[str, Any]:
    """Backend, commit (of models from a hub), and the first numbers of the vectors of three texts. Those differ in the
    last digits between precisions and machines: compare them by their distance."""
    settings = getattr(encoder[0], "config", None)
    return {
        "backend": backend,
        "revision": getattr(settings, "_commit_hash", None) or asked,
        "fingerprint": np.round(canaries[:PROBES, :NUMBERS].astype(float), DIGITS).tolist(),
    }
