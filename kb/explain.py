"""Why a query found what it found, why a page was missed, and what an ingest spent its time on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, Literal

from kb.html import render
from kb.search import Naming, content_words
from kb.shown import Shown
from kb.store import Candidate, Filter, Store
from kb.types import Document, DocumentStatus, Hit, Vector

__all__ = ["DEPTH", "Explanation", "Finding", "Ranked", "explain", "slowest_stage"]

# How deep to look for a page that was expected; a search itself takes `search.candidates` of each list.
DEPTH = 1_000
SHOWN = 10
EXCERPT = 160
NAMED = 3
# all-MiniLM-L6-v2 and its like give unrelated texts 0.0 to 0.2.
UNRELATED = 0.25

REMEDIES = {
    DocumentStatus.NO_TEXT: "Set extraction.ocr to auto, and ingest with --retry-failed.",
    DocumentStatus.ENCRYPTED: "Add its password to extraction.passwords, and ingest with --retry-failed.",
    DocumentStatus.OVER_LIMIT: "Raise extraction.timeout, memory_mb or max_pages, and ingest with --retry-failed.",
    DocumentStatus.CORRUPT: "Get an intact copy; printing it to PDF anew often helps.",
    DocumentStatus.UNREADABLE: "Give read permission, and ingest again.",
    DocumentStatus.EMPTY: "There is nothing in it to find.",
}
ADVICE = {
    "extract": "reading PDFs is the slowest: set extraction.workers to the number of cores, and extraction.ocr to off "
    "where scans do not matter",
    "chunk": "cutting passages is the slowest: set embedder.tokenizer to the model's tokenizer.json",
    "embed": "the endpoint is the slowest: kb tune endpoint finds its best batch_size and concurrency; add replicas to "
    "embedder.base_url",
    "store": "writing is the slowest: put storage.uri on a local disk",
    "index": "indexing is the slowest: ingest more files in one run",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked at, and what to do about it."""

    status: Literal["ok", "warn", "fail"]
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Ranked:
    """An entry of one list. `expected` marks the page that was asked about."""

    rank: int
    score: float
    document: str
    page: int
    excerpt: str
    expected: bool


@dataclass(frozen=True, slots=True)
class Explanation(Shown):
    """What each list ranked for a query, what came of it, and what stands in the way of the page expected."""

    query: str
    expected: str
    findings: tuple[Finding, ...]
    lists: Mapping[str, tuple[Ranked, ...]]
    hits: tuple[Hit, ...]

    def to_dict(self) -> dict[str, Any]:
        """The whole as data."""
        lists = {name: [asdict(entry) for entry in entries] for name, entries in self.lists.items()}
        findings = [asdict(finding) for finding in self.findings]
        hits = [hit.to_dict() for hit in self.hits]
        return {"query": self.query, "expected": self.expected, "findings": findings, "lists": lists, "hits": hits}

    def _repr_html_(self) -> str:
        return render("explanation.html", explanation=self)

    def to_text(self) -> str:
        """The result where there is no HTML."""
        return "\n".join(f"{finding.what} {finding.fix}".strip() for finding in self.findings)


def explain(
    store: Store,
    query: str,
    hits: Sequence[Hit],
    *,
    embed_query: Callable[[str], Vector],
    candidates: int,
    document: str = "",
    page: int = 0,
) -> Explanation:
    """Looks at every list on its own. `hits` are what a search of DEPTH gave; `document` and `page` what was expected.

    Raises StoreError or EndpointError.
    """
    where = Filter(documents=(document,)) if document else None
    wanted = [known for known in store.documents().values() if where is not None and where.accepts(known)]
    under_way = {
        "vector": store.nearest(embed_query(query), limit=DEPTH),
        "text": store.matching_chunks(content_words(query), limit=DEPTH),
        "page": store.matching_pages(content_words(query), limit=DEPTH),
    }
    found = {name: searching.result() for name, searching in under_way.items()}
    is_expected = _expectation(wanted, page)
    findings = [*_general(found, query), *_named(store, query)]
    findings += _of_document(store, document, wanted, page) if document else ()
    if wanted and not any(finding.status == "fail" for finding in findings):
        findings += _of_ranks(store, query, wanted[0], page, found, hits, is_expected, candidates)
    name = f"{document}, page {page}" if page else document
    lists = {channel: _ranked(store, entries, is_expected) for channel, entries in found.items()}
    return Explanation(query, name, tuple(findings), lists, tuple(hits[:SHOWN]))


def slowest_stage(stage_seconds: Mapping[str, float]) -> Finding:
    """What an ingest spent its time on, from its report."""
    if not stage_seconds:
        return Finding("ok", "No ingest has read anything yet.")
    stage = max(stage_seconds, key=lambda name: stage_seconds[name])
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stage_seconds.items())
    return Finding("warn" if stage_seconds[stage] > 60 else "ok", f"{told}: {ADVICE.get(stage, stage)}.")


# --- what is found out ---------------------------------------------------------------------------------------------


def _general(found: Mapping[str, Sequence[Candidate]], query: str) -> Iterator[Finding]:
    if not any(found.values()):
        yield Finding("fail", "No list has anything: the collection holds no passages.", "Run kb ingest FOLDER.")
        return
    if not found["text"] and not found["page"]:
        yield Finding(
            "warn",
            "No passage shares a word with the question, so only the meaning counts.",
            "Use words that the documents use, in their language.",
        )
    if found["vector"] and found["vector"][0].score < UNRELATED:
        best = found["vector"][0].score
        what = f"The nearest passage has a cosine of only {best:.2f}: the collection may hold nothing about this."
        yield Finding("warn", what, "Ask more fully, or ingest documents about it.")
    if len(query.split()) == 1:
        yield Finding("warn", "The question is one word.", "A sentence tells the model far more.")


def _named(store: Store, query: str) -> Iterator[Finding]:
    """Which documents the question names, for what it names comes forward."""
    contents = store.contents()
    naming = Naming(query, [store.words_of_names(contents)])
    shares = {content: naming.share(content) for content in contents} if naming else {}
    most = max(shares.values(), default=0.0)
    if most:
        named = sorted(PurePath(contents[content][0].path).name for content, share in shares.items() if share == most)
        told = ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "")
        yield Finding("ok", f"The question has words of these documents' names, which come forward: {told}.")


def _of_document(store: Store, name: str, wanted: Sequence[Document], page: int) -> Iterator[Finding]:
    """Whether the document is there, was read, and has text on that page."""
    if not wanted:
        names = sorted({PurePath(path).name for path in store.documents()})
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.75)
        fix = f"Did you mean {', '.join(near)}?" if near else "Ingest it: kb ingest PATH."
        yield Finding("fail", f"{name} is not in the collection.", fix)
        return
    document = wanted[0]
    label = PurePath(document.path).name
    if not document.status.has_text:
        what = f"{label} is in the collection, but nothing of it was extracted: {document.status}. {document.reason}"
        yield Finding("fail", what.strip(), REMEDIES.get(document.status, "See the report of the ingest."))
        return
    yield Finding("ok", f"{label} was read: {document.page_count} pages, {document.chunk_count} passages.")
    if page > document.page_count:
        what = f"{label} has only {document.page_count} pages; pages count from 1 as they lie in the file."
        yield Finding("fail", what, "Name another page.")
    elif page in document.pages_without_text:
        fix = "Set extraction.ocr to auto, and ingest with --retry-failed."
        yield Finding("fail", f"Page {page} is a picture without text, or could not be read.", fix)
    elif page:
        yield from _of_page(store, document, page)


def _of_page(store: Store, document: Document, page: int) -> Iterator[Finding]:
    text = store.page_text(document, page)
    if not text.strip():
        yield Finding("fail", f"Page {page} is blank.", "Look at the page before and after it.")
        return
    keys: dict[str, str | int] = {"doc_id": document.doc_id, "recipe": document.recipe, "page": page}
    count = len(store.rows("chunks", ["chunk_id"], keys))
    yield Finding("ok", f"Page {page} was extracted: {len(text.split())} words in {count} passages that begin there.")
    if not count:
        fix = "Its text belongs to a passage of the page before, or the endpoint refused it: see kb status."
        yield Finding("warn", f"No passage begins on page {page}.", fix)


def _of_ranks(
    store: Store,
    query: str,
    document: Document,
    page: int,
    found: Mapping[str, Sequence[Candidate]],
    hits: Sequence[Hit],
    is_expected: Callable[[Mapping[str, Any]], bool],
    candidates: int,
) -> Iterator[Finding]:
    """How each list ranked what was expected, and where it came out in the end."""
    for channel, entries in found.items():
        rank = next((rank for rank, entry in enumerate(entries, start=1) if is_expected(entry.row)), None)
        if rank is None:
            yield Finding("warn", f"{channel}: not among the first {min(DEPTH, len(entries))}.")
        elif rank > candidates:
            fix = f"Raise search.candidates over {rank}."
            yield Finding("warn", f"{channel}: rank {rank}, but only {candidates} of each list take part.", fix)
        else:
            yield Finding("ok", f"{channel}: rank {rank} of {len(entries)}.")
    place = next(
        (hit.rank for hit in hits if hit.doc_id == document.doc_id and (not page or hit.page <= page <= hit.last_page)),
        None,
    )
    if place is not None:
        yield Finding("ok" if place <= SHOWN else "warn", f"In the end it is hit {place}.")
    else:
        yield Finding("warn", "In the end it is no hit.")
    if page:
        yield from _words(query, store.page_text(document, page))


def _words(query: str, text: str) -> Iterator[Finding]:
    """Which words of the question stand on the page: full text can find it by no others."""
    asked = list(dict.fromkeys(word for word in re.findall(r"\w{3,}", content_words(query).casefold())))
    there = set(re.findall(r"\w+", text.casefold()))
    missing = [word for word in asked if word not in there]
    if asked and missing:
        shared = [word for word in asked if word in there]
        fix = "" if len(shared) >= len(missing) else "Ask with words that stand there, or rely on mode vector."
        what = f"Of the question's words {', '.join(shared) or 'none'} stand on the page; {', '.join(missing)} do not."
        yield Finding("ok" if not fix else "warn", what, fix)


def _expectation(wanted: Sequence[Document], page: int) -> Callable[[Mapping[str, Any]], bool]:
    contents = {document.doc_id for document in wanted}

    def is_expected(row: Mapping[str, Any]) -> bool:
        return row["doc_id"] in contents and (not page or row["page"] <= page <= row.get("last_page", row["page"]))

    return is_expected


def _ranked(
    store: Store, entries: Sequence[Candidate], is_expected: Callable[[Mapping[str, Any]], bool]
) -> tuple[Ranked, ...]:
    contents = store.contents()
    return tuple(
        Ranked(
            rank=rank,
            score=round(entry.score, 4),
            document=PurePath(contents[entry.row["doc_id"], entry.row["recipe"]][0].path).name,
            page=entry.row["page"],
            excerpt=" ".join(str(entry.row.get("text", "")).split())[:EXCERPT],
            expected=is_expected(entry.row),
        )
        for rank, entry in enumerate(entries[:SHOWN], start=1)
    )
