"""What every command shares: --config, --set and --json, errors as one line, and the exit status."""

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

__all__ = ["NOTHING_DONE", "command", "main", "open_knowledge_base", "print_json", "value_of"]

P = ParamSpec("P")

NOTHING_DONE = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="kb")
def main() -> None:
    """Ask your PDFs. Exit status: 0 done, 1 some documents failed (the report says which), 2 nothing could be done."""


def command(function: Callable[P, int], group: click.Group = main) -> click.Command:
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
            click.echo(
                "[pdf] Interrupted. What was finished before is kept: run the same command again to go on.", err=True
            )
            status = 130
        sys.exit(status)

    made = group.command(name=function.__name__.strip("_"))(run)
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
        arguments.setdefault(section, {})[name] = value_of(value)
    return KnowledgeBase.open(config, **arguments)


def value_of(text: str) -> Any:
    """JSON where it is JSON (a number, a list), else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
