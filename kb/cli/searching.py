"""The command that asks."""

from __future__ import annotations

import click

from kb.cli.command import command, open_knowledge_base, print_json

__all__ = ["search"]


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
