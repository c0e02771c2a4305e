"""The options that describe a dataset. Imports nothing heavy, because `--help` needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., None])


@dataclass(frozen=True)
class DatasetOptions:
    """Options that add to a config file or a dataset URL; `set` contains overrides such as `a.b=value`."""

    name: str | None = None
    version: str | None = None
    label: str | None = None
    id: str | None = None
    input: tuple[str, ...] = ()
    kind: str | None = None
    group: str | None = None
    ignore: tuple[str, ...] = ()
    annotations: str | None = None
    slices: tuple[str, ...] = ()
    output: str | None = None
    set: tuple[str, ...] = ()


def dataset_options(command: Command) -> Command:
    """Declare an option of the same name for each field of `DatasetOptions`."""
    options = [
        click.option("--label", metavar="COLUMN", help="Column with the given labels."),
        click.option("--id", metavar="COLUMN", help="Column with stable example ids."),
        click.option("--input", metavar="COLUMN", multiple=True, help="Input column. Can be repeated."),
        click.option("--kind", type=click.Choice(["auto", "image", "text", "vector", "table"]), help="Kind of input."),
        click.option("--group", metavar="COLUMN", help="Column of groups. A group stays in one fold."),
        click.option("--ignore", metavar="COLUMN", multiple=True, help="Column to ignore. Can be repeated."),
        click.option("--annotations", metavar="URL", help="Table with the answers of several annotators."),
        click.option(
            "--slices", metavar="COLUMN", multiple=True, help="Column whose values are compared. Can be repeated."
        ),
        click.option("--name", help="Name of the dataset in reports."),
        click.option("--version", help="Version of the dataset in reports."),
        click.option("--output", metavar="URL", help="Where to publish audits. [default: labelaudit-reports]"),
        click.option(
            "--set",
            metavar="A.B=VALUE",
            multiple=True,
            help="Override a config key, for example training.epochs=3. Can be repeated.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
