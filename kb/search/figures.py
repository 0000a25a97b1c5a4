"""Figures of a question that stand in a passage: "in 2007" and "note 4.2" mean these and no others.

BM25 makes little of a year where every page has some (tests/benchmarks/bench_retrieval.py says what it is worth).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["shares_of_figures"]

FIGURE = re.compile(r"\d(?:[\d.,]*\d)?")


def shares_of_figures(question: str, texts: Sequence[str]) -> list[float]:
    """For each text the share of the question's figures that it has; 0 for all where the question has none."""
    wanted = set(FIGURE.findall(question))
    if not wanted:
        return [0.0] * len(texts)
    return [len(wanted & set(FIGURE.findall(text))) / len(wanted) for text in texts]
