"""The flags as a Markdown table, for the README: `python -m server.config_docs`; a test holds the two together."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from server.config import make_parser

__all__ = ["flags_table"]


def flags_table() -> str:
    """One row for each flag: what it means, what it may be, and its default."""
    return "\n".join(["| flag | meaning | default |", "| --- | --- | --- |", *_rows(make_parser())])


def _rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # argparse has no public list of them
        if isinstance(action, argparse._HelpAction):
            continue
        value = "" if action.nargs == 0 or action.choices else f" {action.metavar or _value(action)}"
        choices = f" (`{'`, `'.join(action.choices)}`)" if action.choices else ""
        meaning, default = _meaning(action), _default(action)
        yield f"| `{action.option_strings[0]}{value}` | {meaning}{choices} | {default} |"


def _value(action: argparse.Action) -> str:
    return action.dest.upper() if action.type in (None, Path) else "N"


def _meaning(action: argparse.Action) -> str:
    meaning, _, _ = (action.help or "").partition(" (default: ")
    return meaning.replace("|", "\\|")


def _default(action: argparse.Action) -> str:
    """Its value; where the code finds one, in the words of its help."""
    _, _, told = (action.help or "").partition(" (default: ")
    if told:
        return told.removesuffix(")")
    return "" if action.default is None or action.nargs == 0 else f"`{action.default}`"


if __name__ == "__main__":
    print(flags_table())
