"""Commands that measure the search and the endpoint, and tune them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kb.cli.command import command, open_knowledge_base, print_json

__all__ = ["evaluate", "questions"]


@command
@click.argument("questions", type=click.Path())
@click.option("--mode", "modes", multiple=True, help="hybrid, vector or text; repeatable. All three unless given.")
@click.option("--rerank/--no-rerank", default=None, help="Ask the reranker, or not; it is where one is configured.")
@click.option("--details", type=click.Path(), metavar="FILE.json", help="Also write every question's result.")
@click.option("--report", "report_file", type=click.Path(), metavar="FILE.html", help="Also write a report as HTML.")
def evaluate(
    questions: str,
    modes: tuple[str, ...],
    rerank: bool | None,
    details: str | None,
    report_file: str | None,
    config: str | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> int:
    """Measure the search on QUESTIONS, a file of questions with known pages."""
    from kb.progress import terminal_progress

    with open_knowledge_base(config, changes) as knowledge_base, terminal_progress() as draw:
        evaluation = knowledge_base.evaluate(questions, modes=modes, rerank=rerank, draw=draw)
    if details:
        Path(details).write_text(json.dumps(evaluation.to_dict(details=True), ensure_ascii=False, indent=1), "utf-8")
    if report_file:
        evaluation.write_html(report_file, title="Evaluation")
    if as_json:
        print_json(evaluation.to_dict())
        return 0
    if evaluation.unknown:
        click.echo(f"not in the collection: {', '.join(evaluation.unknown)}", err=True)
    click.echo(f"{evaluation.questions} questions; mean and 95 % interval")
    for result in evaluation.modes:
        for level, scores in (("page", result.page), ("document", result.document)):
            told = "  ".join(
                f"{name} {score.mean:.3f} ({score.low:.3f}-{score.high:.3f})" for name, score in scores.items()
            )
            if told:
                click.echo(f"{result.mode:<10}{level:<10}{told}")
        click.echo(f"{'':<10}{'time':<10}p50 {result.milliseconds['p50']} ms  p95 {result.milliseconds['p95']} ms")
    return 0


@command
@click.argument("file", type=click.Path())
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True, help="How many.")
@click.option(
    "--by-model",
    is_flag=True,
    help="By the language model of writer.base_url; else headings and captions.",
)
def questions(
    file: str, count: int, by_model: bool, config: str | None, changes: tuple[str, ...], as_json: bool
) -> int:
    """Make a first set of questions with known pages from the collection's own documents, into FILE."""
    with open_knowledge_base(config, changes) as knowledge_base:
        made = knowledge_base.make_questions(file, count=count, by_model=by_model)
    if as_json:
        print_json({"file": file, "questions": len(made)})
    else:
        click.echo(f"{len(made)} questions in {file}; evaluate with: kb evaluate {file}")
    return 0
