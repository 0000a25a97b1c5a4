"""A question as it is asked: checked, and without the words that only make it a question."""

from __future__ import annotations

import re

from kb.errors import QueryError

__all__ = ["MAX_QUERY", "STEM_LETTERS", "checked", "content_words", "stem"]

# Longer queries are a mistake (a pasted document), and no model reads them.
MAX_QUERY = 10_000

# In a document these are rare, so BM25 would weigh "what" and "how" like names. Without them full text alone gains
# most; the whole search gains 0.003 nDCG@10 on 617 questions over 44 documents (tests/benchmarks/bench_retrieval.py).
QUESTION_WORDS = frozenset(
    """
    what which who whom whose when where why how do does did is are was were be been has have had can could should
    would may might must shall will about according me my i we our you your it its he she they them his her their tell
    describe explain from during between each any some many much more most
    """.split()  # noqa: SIM905  a list of words reads best as words
)
# Words as full text has them: "1,234.5" and "U.S" are one each.
WORD = re.compile(r"\d+(?:[.,]\d+)+|\w(?:\.\w)+(?!\w)|\w+")
# Words count as the same where they share their first letters: "operates" and "operating", "margin" and "margins".
STEM_LETTERS = 5


def checked(query: str) -> str:
    """The query as it can be searched. Raises QueryError for an empty or an endless one."""
    question = query.replace("\x00", " ").encode("utf-8", "ignore").decode().strip()
    if not question:
        raise QueryError("the query is empty", fix="Ask something.")
    if len(question) > MAX_QUERY:
        raise QueryError(
            f"the query has {len(question):,} characters", fix=f"Ask in at most {MAX_QUERY:,}; a sentence works best."
        )
    return question


def content_words(question: str) -> str:
    """The question for full text; whole where it has nothing but question words."""
    kept = [word for word in WORD.findall(question) if word.lower() not in QUESTION_WORDS]
    return " ".join(kept) or question


def stem(word: str) -> str:
    """What two forms of a word have in common."""
    return word.casefold()[:STEM_LETTERS]
