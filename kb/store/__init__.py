"""LanceDB: the tables of a collection, written idempotently and searched by vector and by text."""

import kb.store.lance  # noqa: F401  before any other module imports LanceDB
from kb.store.conditions import Condition, parse_condition
from kb.store.dates import parse_date
from kb.store.filters import Filter, parse_pages
from kb.store.lists import Searching
from kb.store.name_words import WORD_OF_NAME, WordsOfNames, words_of_name
from kb.store.reading import Run, Statistics
from kb.store.schemas import IngestedDocument
from kb.store.searching import PLACE, Candidate
from kb.store.store import Store

__all__ = [
    "PLACE",
    "WORD_OF_NAME",
    "Candidate",
    "Condition",
    "Filter",
    "IngestedDocument",
    "Run",
    "Searching",
    "Statistics",
    "Store",
    "WordsOfNames",
    "parse_condition",
    "parse_date",
    "parse_pages",
    "words_of_name",
]
