"""Where things lie."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ROOT", "SAMPLES", "SHARED"]

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "tests" / "data" / "pdfs"
SHARED = ROOT.parent / "shared"
