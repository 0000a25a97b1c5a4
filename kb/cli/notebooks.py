"""Commands that run notebooks, now and on a schedule."""

from __future__ import annotations

from pathlib import Path

import click

from kb.cli.command import NOTHING_DONE, command, print_json

__all__ = ["run", "schedule"]

Pairs = tuple[tuple[str, str], ...]


@command
@click.argument("notebook")
@click.option("-p", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter; repeatable.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Folder of the runs: runs.")
@click.option("--keep", type=click.IntRange(min=1), default=30, help="How many runs of a notebook stay: 30.")
@click.option("--wait", type=float, default=0.0, metavar="SECONDS", help="Wait for a run that is under way.")
def run(
    notebook: str,
    pairs: Pairs,
    runs: Path,
    keep: int,
    wait: float,
    config: str | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run NOTEBOOK (ingest, search, … or a path) over papermill, in a folder of its own."""
    from kb.run import find_notebook, parse_parameters, run_notebook

    if changes:
        raise click.UsageError("--set is no parameter of a notebook; change the configuration, or the environment")
    file = find_notebook(notebook)
    given = dict(pairs) | ({"config": str(Path(config).absolute())} if config else {})
    result = run_notebook(file, parse_parameters(file, given), runs=runs, keep=keep, wait=wait)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(result.output)
    if result.error:
        click.echo(result.error, err=True)
    return NOTHING_DONE if result.error else 0


@command
@click.argument("notebook", default="ingest")
@click.option("-p", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter; repeatable.")
@click.option("--daily-at", default="03:00", metavar="HH:MM", help="When: 03:00.")
@click.option("--write", "folder", type=click.Path(path_type=Path), help="Write the files into this folder.")
def schedule(
    notebook: str,
    pairs: Pairs,
    daily_at: str,
    folder: Path | None,
    config: str | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> int:
    """Print what runs NOTEBOOK every day: crontab, systemd, Kubernetes, Airflow, filled in for this installation."""
    from kb.config_file import find_file
    from kb.run import find_notebook, parse_parameters
    from kb.schedule import Installation, schedules

    file = find_notebook(notebook)
    parse_parameters(file, dict(pairs))  # a name that the notebook lacks would fail at three in the morning
    used = find_file(config)
    made = schedules(Installation(file.stem, dict(pairs), daily_at=daily_at, config=str(used) if used else ""))
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (folder / name).write_text(text, "utf-8")
    if as_json:
        print_json({"files": made})
    elif folder:
        click.echo("\n".join(str(folder / name) for name in made))
    else:
        for name, text in made.items():
            click.echo(click.style(f"--- {name}", bold=True) + f"\n{text}")
    return 0
