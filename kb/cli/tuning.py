"""`kb tune`: settings that suit one's own questions and endpoint."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from kb.cli.command import command, main, open_knowledge_base, print_json

if TYPE_CHECKING:
    from kb import KnowledgeBase
    from kb.tune import EndpointTuning, RetrievalTuning

__all__ = ["tune"]


@main.group()
def tune() -> None:
    """Find the settings that suit your questions, or your endpoint, by trying them."""


@partial(command, group=tune)
@click.argument("questions", type=click.Path())
@click.option("--write", is_flag=True, help="Write what is certainly better into the configuration.")
def retrieval(questions: str, write: bool, config: str | None, changes: tuple[str, ...], as_json: bool) -> int:
    """Try chunk sizes, overlaps, weights and candidates on QUESTIONS, a file of questions with known pages."""
    from kb.progress import terminal_progress

    with open_knowledge_base(config, changes) as knowledge_base:
        with terminal_progress() as draw:
            tuning = knowledge_base.tune_retrieval(questions, draw=draw)
        if not as_json:
            for trial in tuning.trials:
                settings = ", ".join(f"{key} {value}" for key, value in trial.settings.items())
                click.echo(
                    f"nDCG@10 {trial.ndcg.mean:.3f} ({trial.ndcg.low:.3f}-{trial.ndcg.high:.3f})  "
                    f"{trial.milliseconds:5.0f} ms  {trial.bytes / 1e6:6.1f} MB  {settings}"
                )
        _conclude(knowledge_base, tuning, write=write and tuning.is_certain, as_json=as_json)
    return 0


@partial(command, group=tune)
@click.option("--batch-size", "batch_sizes", type=int, multiple=True, help="Texts in a request; repeatable.")
@click.option("--concurrency", "concurrencies", type=int, multiple=True, help="Requests at once; repeatable.")
@click.option("--dtype", "dtypes", multiple=True, help="Measure the bundled server in this precision; repeatable.")
@click.option("--seconds", default=3.0, show_default=True, help="For each pair.")
@click.option("--write", is_flag=True, help="Write the knee into the configuration.")
def endpoint(
    batch_sizes: tuple[int, ...],
    concurrencies: tuple[int, ...],
    dtypes: tuple[str, ...],
    seconds: float,
    write: bool,
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
                click.echo(
                    f"{trial.texts_per_second:8.0f} texts/s  p50 {trial.p50_ms:7.0f} ms  p99 {trial.p99_ms:7.0f} ms  "
                    f"batch size {trial.batch_size}, concurrency {trial.concurrency} {trial.dtype}".rstrip()
                )
        _conclude(knowledge_base, tuning, write=write, as_json=as_json)
    return 0


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
