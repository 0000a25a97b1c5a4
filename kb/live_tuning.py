"""What the tuning notebook calls: sweeps whose picture grows while they run, and the winner written on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kb.errors import QueryError
from kb.knowledge_base import KnowledgeBase
from kb.questions import Question, read_questions
from kb.shown import Shown
from kb.tune import EndpointTuning, RetrievalTuning
from kb.tune.retrieval import GRID
from kb.widgets import WriteSettings, someone_is_there

__all__ = ["conclude", "numbers", "questions_for", "tune_endpoint", "tune_retrieval"]

T = TypeVar("T", bound=Shown)


def questions_for(knowledge_base: KnowledgeBase, file: str, *, count: int) -> list[Question]:
    """Those of a file; else hits marked right in the search notebook; else made of headings and captions, kept too."""
    if file:
        return read_questions(file)
    judgements = knowledge_base.judgements()
    if judgements.has_right_ones:
        return read_questions(judgements.file)
    made_file = judgements.file.with_suffix(".made.jsonl")
    made = knowledge_base.make_questions(made_file, count=count)
    print(f"No hit is marked right yet: {len(made)} questions are made of headings and captions, kept in {made_file}.")
    return made


def numbers(text: str | int, name: str) -> list[int]:
    """Whole numbers in a parameter, "1, 8, 32" (papermill makes a number of "8"). Raises QueryError, which names it."""
    try:
        found = [int(part) for part in str(text).replace(",", " ").split()]
    except ValueError:
        found = []
    if not found or min(found) < 0:
        raise QueryError(f"{str(text)[:60]!r} is no list of numbers", where=name, fix='Write them as "1, 8, 32".')
    return found


def tune_endpoint(
    knowledge_base: KnowledgeBase, *, batch_sizes: str, concurrencies: str, dtypes: str, seconds: float
) -> EndpointTuning:
    """Measures the endpoint; the picture grows with each pair."""
    return _live(
        lambda show: knowledge_base.tune_endpoint(
            batch_sizes=numbers(batch_sizes, "batch_sizes"),
            concurrencies=numbers(concurrencies, "concurrencies"),
            dtypes=dtypes.replace(",", " ").split(),
            seconds=seconds,
            show=show,
        )
    )


def tune_retrieval(
    knowledge_base: KnowledgeBase, questions: Sequence[Question], *, chunk_sizes: str, overlaps: str
) -> RetrievalTuning:
    """Tries chunkings and weights on the questions; the picture grows with each trial."""
    grid = {
        **GRID,
        "chunking.max_tokens": numbers(chunk_sizes, "chunk_sizes"),
        "chunking.overlap": numbers(overlaps, "overlaps"),
    }
    return _live(lambda show: knowledge_base.tune_retrieval(questions, grid=grid, show=show))


def conclude(
    knowledge_base: KnowledgeBase,
    endpoint: EndpointTuning,
    retrieval: RetrievalTuning,
    *,
    write: bool,
    interactive: bool,
) -> WriteSettings | dict[str, Any]:
    """The winning settings: with a button for a person, written where `write` says so, else only told.

    Of retrieval only what is more than chance.
    """
    changes = endpoint.changes | (retrieval.changes if retrieval.is_certain else {})
    if interactive and someone_is_there():
        return WriteSettings(knowledge_base, changes)
    file = knowledge_base.write_settings(changes) if write and changes else None
    return {"changes": changes, "written": str(file) if file else None}


def _live(run: Callable[[Callable[[T], None]], T]) -> T:
    """Runs with an output that is replaced by each state of affairs; the last one stays."""
    from IPython.display import DisplayHandle

    handle: Any = DisplayHandle()  # type: ignore[no-untyped-call]
    shown = False

    def show(state: T) -> None:
        nonlocal shown
        if shown:
            handle.update(state.as_report(), raw=True)
        else:
            handle.display(state.as_report(), raw=True)
            shown = True

    result = run(show)
    show(result)
    result.show_data()
    return result
