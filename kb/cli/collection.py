"""Commands that fill, show and change a collection."""

from __future__ import annotations

import json

import click

from kb.cli.command import command, open_knowledge_base, print_json

__all__ = ["ingest", "migrate", "remove", "status"]


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
        report.write_html(report_file, title="Ingest report")
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
    click.echo(f"chunks     {numbers.chunks} ({numbers.bytes / 1e6:.1f} MB, vector index: {numbers.index_in_words})")
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
