"""`kb tune`: settings that suit one's own questions and endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from kb.cli.command import command, main, open_knowledge_base, print_json, value_of
from kb.errors import QueryError

if TYPE_CHECKING:
    from kb import KnowledgeBase
    from kb.tune import EndpointTuning, RetrievalTuning

__all__ = ["tune"]

REPORT = click.option(
    "--report", "report_file", type=click.Path(), metavar="FILE.html", help="Also write pictures and table as HTML."
)


@main.group()
def tune() -> None:
    """Find the settings that suit your questions, or your endpoint, by trying them."""


@partial(command, group=tune)
@click.argument("questions", type=click.Path())
@click.option("--try", "tried", multiple=True, metavar="KEY=VALUES", help='Only this, as "chunking.overlap=0,40".')
@click.option("--write", is_flag=True, help="Write what is certainly better into the configuration.")
@REPORT
def retrieval(
    questions: str,
    tried: tuple[str, ...],
    write: bool,
    report_file: str | None,
    config: str | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> int:
    """Try chunk sizes, overlaps, weights and candidates on QUESTIONS, a file of questions with known pages."""
    from kb.progress import terminal_progress
    from kb.tune.retrieval import GRID

    grid = dict(map(_values_to_try, tried)) or GRID
    with open_knowledge_base(config, changes) as knowledge_base:
        with terminal_progress() as draw:
            tuning = knowledge_base.tune_retrieval(questions, grid=grid, draw=draw)
        if not as_json:
            for trial in tuning.trials:
                settings = ", ".join(f"{key} {value}" for key, value in trial.settings.items())
                click.echo(
                    f"nDCG@10 {trial.ndcg.mean:.3f} ({trial.ndcg.low:.3f}-{trial.ndcg.high:.3f})  "
                    f"{trial.milliseconds:5.0f} ms  {trial.bytes / 1e6:6.1f} MB  {settings}"
                )
        if report_file:
            tuning.write_html(report_file, title="Tuning of the search")
        _conclude(knowledge_base, tuning, write=write and tuning.is_certain, as_json=as_json)
    return 0


@partial(command, group=tune)
@click.option("--batch-size", "batch_sizes", type=int, multiple=True, help="Texts in a request; repeatable.")
@click.option("--concurrency", "concurrencies", type=int, multiple=True, help="Requests at once; repeatable.")
@click.option("--dtype", "dtypes", multiple=True, help="Measure the bundled server in this precision; repeatable.")
@click.option("--seconds", default=3.0, show_default=True, help="For each pair.")
@click.option("--write", is_flag=True, help="Write the knee into the configuration.")
@REPORT
def endpoint(
    batch_sizes: tuple[int, ...],
    concurrencies: tuple[int, ...],
    dtypes: tuple[str, ...],
    seconds: float,
    write: bool,
    report_file: str | None,
    config: str | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> int:
    """Measure batch sizes and concurrencies at the endpoint, and find where more brings nothing."""
    from kb.progress import terminal_progress

    with open_knowledge_base(config, changes) as knowledge_base:
        with terminal_progress() as draw:
            tuning = knowledge_base.tune_endpoint(
                batch_sizes=batch_sizes, concurrencies=concurrencies, dtypes=dtypes, seconds=seconds, draw=draw
            )
        if not as_json:
            for trial in tuning.trials:
                memory = f", {trial.gpu_bytes / 1e9:.1f} GB of GPU memory" if trial.gpu_bytes else ""
                click.echo(
                    f"{trial.texts_per_second:8.0f} texts/s  p50 {trial.p50_ms:7.0f} ms  p99 {trial.p99_ms:7.0f} ms  "
                    f"batch size {trial.batch_size}, concurrency {trial.concurrency} {trial.dtype}".rstrip()
                    + memory
                )
        if report_file:
            tuning.write_html(report_file, title="Tuning of the endpoint")
        _conclude(knowledge_base, tuning, write=write, as_json=as_json)
    return 0


def _values_to_try(text: str) -> tuple[str, Sequence[Any]]:
    """ "chunking.overlap=0,40" as a key and its values. Raises QueryError."""
    key, _, values = text.partition("=")
    told = [value_of(value.strip()) for value in values.split(",") if value.strip()]
    if "." not in key or not told:
        raise QueryError(f"{text[:60]!r} is nothing to try", where="--try", fix='Write "chunking.overlap=0,40".')
    return key.strip(), told


def _conclude(
    knowledge_base: KnowledgeBase, tuning: RetrievalTuning | EndpointTuning, *, write: bool, as_json: bool
) -> None:
    file = knowledge_base.write_settings(tuning.changes) if write and tuning.changes else None
    if as_json:
        print_json(tuning.to_dict() | {"written": str(file) if file else None})
        return
    click.echo(tuning.advice)
    if file:
        click.echo(f"written to {file}; run kb ingest again where chunking has changed")
