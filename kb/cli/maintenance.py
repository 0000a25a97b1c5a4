"""Commands that keep a collection safe."""

from __future__ import annotations

import click

from kb.cli.command import command, open_knowledge_base, print_json

__all__ = ["backup", "restore"]


@command
@click.argument("target", type=click.Path())
def backup(target: str, config: str | None, changes: tuple[str, ...], as_json: bool) -> int:
    """Write the collection into TARGET: a file, or a folder that gets a new one. Ingests wait meanwhile."""
    with open_knowledge_base(config, changes) as knowledge_base:
        made = knowledge_base.backup(target)
    if as_json:
        print_json(made.to_dict())
    else:
        size = f"{made.bytes / 1e6:.1f} MB"
        click.echo(f"{made.documents} documents, {made.chunks} passages, {size}: {made.file}")
    return 0


@command
@click.argument("file", type=click.Path())
def restore(file: str, config: str | None, changes: tuple[str, ...], as_json: bool) -> int:
    """Put the backup FILE back, verified byte by byte, where the configuration has its collection and nothing is."""
    with open_knowledge_base(config, changes) as knowledge_base:
        restored = knowledge_base.restore(file)
        store = knowledge_base.store.uri
    if as_json:
        print_json(restored.to_dict())
    else:
        what = f"{restored.documents} documents, {restored.chunks} passages as of {restored.made_at}"
        click.echo(f"{what}: {store}")
    return 0
