"""Lines in the terminal. Control characters in a dataset's text are replaced, so that the terminal does not obey them.

Imports nothing heavy, so that every command can print at once.
"""

from __future__ import annotations

import json

import click

from labelaudit.text import is_control, plain


def say(line: str = "", *, bold: bool | None = None) -> None:
    """Print one line for people on stderr."""
    click.secho(plain(line), err=True, bold=bold)


def say_error(message: str) -> None:
    """Print why a command failed on stderr. Further lines of the message are indented."""
    text = "\n  ".join(plain(line.strip()) for line in message.split("\n"))
    click.echo(f"{click.style('error', fg='red', bold=True)}: {text}", err=True)


def show(line: str, *, fg: str | None = None, bold: bool | None = None) -> None:
    """Print one line of the result on stdout.

    Args:
        line: The text.
        fg: A colour of `click.style`.
        bold: Whether to print it in bold.
    """
    click.secho(plain(line), fg=fg, bold=bold)


def show_json(value: object) -> None:
    """Print the result for programs on stdout: one line of JSON with control characters escaped."""
    text = json.dumps(value, ensure_ascii=False)
    click.echo("".join(json.dumps(character)[1:-1] if is_control(character) else character for character in text))
