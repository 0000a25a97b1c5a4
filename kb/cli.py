"""`kb` and `python -m kb`: each command opens the knowledge base, makes one call, and prints what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from kb import __version__
from kb.errors import KnowledgeBaseError

if TYPE_CHECKING:
    from kb import KnowledgeBase
    from kb.health import Check

__all__ = ["main"]

P = ParamSpec("P")

NOTHING_DONE = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="kb")
def main() -> None:
    """Ask your PDFs. Exit status: 0 done, 1 some documents failed (the report says which), 2 nothing could be done."""


def command(function: Callable[P, int]) -> click.Command:
    """A subcommand with --config, --set and --json, whose errors are one line and exit status 2."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            status = function(*args, **kwargs)
        except KnowledgeBaseError as error:
            if as_json:
                print_json(error.to_dict())
            click.echo(str(error), err=True)
            status = NOTHING_DONE
        except KeyboardInterrupt:
            click.echo("[pdf] Interrupted. What was finished before is kept.", err=True)
            status = 130
        sys.exit(status)

    made = main.command(name=function.__name__.strip("_"))(run)
    made.params += [
        click.Option(["--config", "config"], metavar="FILE", help="Configuration; else config/pdf_knowledge.json."),
        click.Option(
            ["--set", "changes"], multiple=True, metavar="KEY=VALUE", help="Change one setting: embedder.timeout=5."
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="One JSON document on standard output."),
    ]
    return made


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on standard output, whatever its texts hold."""
    text = json.dumps(document, ensure_ascii=False, default=str)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.flush()


def open_knowledge_base(config: str | None, changes: tuple[str, ...]) -> KnowledgeBase:
    """The knowledge base of --config with every --set applied."""
    from kb import KnowledgeBase

    arguments: dict[str, dict[str, Any]] = {}
    for change in changes:
        key, separator, value = change.partition("=")
        section, dot, name = key.partition(".")
        if not (separator and dot):
            raise click.BadParameter(f"{change!r} is not SECTION.KEY=VALUE", param_hint="--set")
        arguments.setdefault(section, {})[name] = _value(value)
    return KnowledgeBase.open(config, **arguments)


def _value(text: str) -> Any:
    """JSON where it is JSON (a number, a list), else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@command
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option("--prune", is_flag=True, help="Forget documents under PATHS whose files are gone.")
@click.option("--retry-failed", is_flag=True, help="Read again what failed, also where nothing has changed.")
@click.option("--report", "report_file", type=click.Path(), metavar="FILE.html", help="Also write the report as HTML.")
def ingest(
    paths: tuple[str, ...],
    prune: bool,
    retry_failed: bool,
    report_file: str | None,
    config: str | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> int:
    """Bring the collection up to date with PDFs and folders of PDFs."""
    from kb.progress import terminal_progress

    with open_knowledge_base(config, changes) as knowledge_base, terminal_progress() as draw:
        report = knowledge_base.ingest(*paths, prune=prune, retry_failed=retry_failed, draw=draw)
    if report_file:
        report.write_html(report_file)
    if as_json:
        print_json(report.to_dict())
        return report.exit_status
    for file in report.incomplete:
        pages = f" (pages without text: {', '.join(map(str, file.pages_without_text))})"
        reason = f": {file.reason}" if file.reason else ""
        click.echo(f"{file.path}: {file.status}{reason}{pages if file.pages_without_text else ''}", err=True)
    if report.stopped:
        click.echo(report.stopped, err=True)
    click.echo(report.summary)
    return report.exit_status


@command
@click.argument("query")
@click.option("-k", "--limit", type=int, help="How many hits.")
@click.option("--mode", type=click.Choice(["hybrid", "vector", "text"]), help="Which lists to search.")
@click.option("--document", "documents", multiple=True, help="Only these: path, file name or pattern; repeatable.")
@click.option("--pages", default="", help='Only these pages: "7", "3-9", "3-".')
@click.option("--after", default="", metavar="DATE", help="Only documents created on or after it.")
@click.option("--before", default="", metavar="DATE", help="Only documents created on or before it.")
@click.option("--title", default="", help="Only documents with this in their title.")
def search(
    query: str,
    limit: int | None,
    mode: str | None,
    documents: tuple[str, ...],
    pages: str,
    after: str,
    before: str,
    title: str,
    config: str | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> int:
    """Find the passages that answer QUERY, each with document and page."""
    with open_knowledge_base(config, changes) as knowledge_base:
        hits = knowledge_base.search(
            query, k=limit, mode=mode, documents=documents, pages=pages, after=after, before=before, title=title
        )
    if as_json:
        print_json(hits.to_dict())
        return 0
    if not hits:
        click.echo("No hits.")
    for hit in hits:
        section = f"  [{hit.section}]" if hit.section else ""
        click.echo(click.style(f"{hit.rank}. {hit.citation}", bold=True) + click.style(section, dim=True))
        click.echo("   " + " ".join(hit.text.split()) + "\n")
    return 0


@command
@click.option("--documents", "list_documents", is_flag=True, help="List every document.")
@click.option("--runs", "list_runs", is_flag=True, help="List the latest ingests: when, what, failures.")
def status(list_documents: bool, list_runs: bool, config: str | None, changes: tuple[str, ...], as_json: bool) -> int:
    """Show what the collection holds."""
    with open_knowledge_base(config, changes) as knowledge_base:
        state = knowledge_base.status()
        documents = knowledge_base.store.documents() if list_documents else {}
        runs = knowledge_base.store.runs() if list_runs else []
    if as_json:
        listed = [{"path": path, "status": str(document.status)} for path, document in documents.items()]
        ledger = [{"started_at": run.started_at.isoformat(), **json.loads(run.report)} for run in runs]
        more = ({"listed": listed} if list_documents else {}) | ({"runs": ledger} if list_runs else {})
        print_json(state.to_dict() | more)
        return 0
    numbers = state.statistics
    by_status = ", ".join(f"{count} {name}" for name, count in numbers.documents_by_status.items())
    click.echo(f"store      {state.store}")
    click.echo(f"documents  {numbers.documents}" + (f" ({by_status})" if by_status else ""))
    click.echo(f"pages      {numbers.pages}")
    click.echo(f"chunks     {numbers.chunks} ({numbers.bytes / 1e6:.1f} MB, vector index: {numbers.vector_index})")
    click.echo(f"model      {state.model or 'none yet'}" + (f", {state.dimension} dimensions" if state.model else ""))
    click.echo(f"cache      {state.cache_use}")
    for run in runs:
        click.echo(f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC  exit {run.exit_status}  {run.summary}")
    for document in documents.values():
        click.echo(f"{document.status:<12}{document.page_count:>6} pages  {document.path}")
    if not list_documents:
        for document in state.incomplete:
            click.echo(f"incomplete {document.path}: {document.status} {document.reason}".rstrip())
    return 0


@command
def doctor(config: str | None, changes: tuple[str, ...], as_json: bool) -> int:
    """Find out what is wrong with the endpoint, check by check, and what to do."""
    colours = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}
    checks = []
    with open_knowledge_base(config, changes) as knowledge_base:
        for check in knowledge_base.diagnose():
            checks.append(check)
            if not as_json:
                click.echo(
                    click.style(f"{check.status:<5}", fg=colours[check.status]) + f"{check.name}: {check.came_back}"
                )
                _echo_details(check)
    failed = any(check.status == "fail" for check in checks)
    if as_json:
        print_json({"checks": [check.to_dict() for check in checks], "healthy": not failed})
    return NOTHING_DONE if failed else 0


def _echo_details(check: Check) -> None:
    """What a check means; where something is wrong, also what was tried, what to do, and the line at fault."""
    wrong = check.status in ("warn", "fail")
    line = f", line {check.line} of the configuration" if check.line else ""
    details = [check.meaning] + ([f"tried: {check.tried}", check.fix, f"key: {check.key}{line}"] if wrong else [])
    for detail in filter(None, details):
        click.echo(f"     {detail}")


@command
def migrate(config: str | None, changes: tuple[str, ...], as_json: bool) -> int:
    """Embed everything anew, after the endpoint's model has changed; searches see the old vectors until it is done."""
    from kb.progress import terminal_progress

    with open_knowledge_base(config, changes) as knowledge_base, terminal_progress() as draw:
        passages = knowledge_base.migrate(draw=draw)
        model = knowledge_base.embedder.space.model
    if as_json:
        print_json({"passages": passages, "model": model})
    else:
        click.echo(f"{passages} passages embedded with {model}")
    return 0


@command
@click.argument("names", nargs=-1, required=True)
def remove(names: tuple[str, ...], config: str | None, changes: tuple[str, ...], as_json: bool) -> int:
    """Forget documents by path, folder, file name or pattern; the files themselves stay."""
    with open_knowledge_base(config, changes) as knowledge_base:
        gone = knowledge_base.remove(*names)
    if as_json:
        print_json({"removed": gone})
    else:
        click.echo("\n".join(f"removed {path}" for path in gone))
    return 0
