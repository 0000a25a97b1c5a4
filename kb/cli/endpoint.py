"""The command that examines the endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kb.cli.command import NOTHING_DONE, command, open_knowledge_base, print_json

if TYPE_CHECKING:
    from kb.health import Check

__all__ = ["doctor"]


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
