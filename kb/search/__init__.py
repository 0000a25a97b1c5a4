"""The search flow: lists of candidates, fused page by page, and the best of them as cited hits."""

from kb.search.flow import Reranker, search
from kb.search.fusion import Fused, Fusion
from kb.search.hits import hit_of
from kb.search.named import Naming
from kb.search.question import MAX_QUERY, content_words

__all__ = ["MAX_QUERY", "Fused", "Fusion", "Naming", "Reranker", "content_words", "hit_of", "search"]
