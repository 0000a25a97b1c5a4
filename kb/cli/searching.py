"""The command that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kb.cli.command import command, open_knowledge_base, print_json

if TYPE_CHECKING:
    from kb.types import Hit

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
@click.option("--where", multiple=True, metavar="CONDITION", help='As "author~smith", "page>=3"; all must hold.')
@click.option("--collection", "collections", multiple=True, help="Search this one instead; repeatable.")
@click.option("--rerank/--no-rerank", default=None, help="Ask the reranker, or not; it is where one is configured.")
@click.option("--by-document", is_flag=True, help="Hits of one document together, the best document first.")
def search(
    query: str,
    limit: int | None,
    mode: str | None,
    documents: tuple[str, ...],
    pages: str,
    after: str,
    before: str,
    title: str,
    where: tuple[str, ...],
    collections: tuple[str, ...],
    rerank: bool | None,
    by_document: bool,
    config: str | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> int:
    """Find the passages that answer QUERY, each with document and page."""
    with open_knowledge_base(config, changes) as knowledge_base:
        hits = knowledge_base.search(
            query,
            k=limit,
            mode=mode,
            documents=documents,
            pages=pages,
            after=after,
            before=before,
            title=title,
            where=where,
            collections=collections,
            rerank=rerank,
        )
    if by_document:
        hits = hits.by_document()
    if as_json:
        print_json(hits.to_dict())
        return 0
    if not hits:
        click.echo("No hits.")
    for hit in hits:
        section = f"  [{hit.section}]" if hit.section else ""
        click.echo(click.style(f"{hit.rank}. {hit.citation}", bold=True) + click.style(section, dim=True))
        click.echo("   " + " ".join(_emphasised(hit).split()) + "\n")
    return 0


def _emphasised(hit: Hit) -> str:
    """The passage, the sentences that matched underlined (a terminal shows it, a pipe gets plain text)."""
    parts: list[str] = []
    end = 0
    for first, last in hit.marks:
        parts += [hit.text[end:first], click.style(hit.text[first:last], underline=True)]
        end = last
    return "".join([*parts, hit.text[end:]])
