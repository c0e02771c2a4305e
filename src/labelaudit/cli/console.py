"""Lines in the terminal, where text of a dataset is text: nothing in it is obeyed.

Imports nothing heavy, so that every command can speak at once.
"""

from __future__ import annotations

import json
from typing import Any

import click

from labelaudit.text import is_control, plain


def say(line: str = "", **style: Any) -> None:
    """One line for people, on stderr. `style`: as `click.style` takes it."""
    click.secho(plain(line), err=True, **style)


def say_error(message: str) -> None:
    """Why a command failed, on stderr; what follows its first line is indented, so that it is seen to belong to it."""
    text = "\n  ".join(plain(line.strip()) for line in message.split("\n"))
    click.echo(f"{click.style('error', fg='red', bold=True)}: {text}", err=True)


def show(line: str, **style: Any) -> None:
    """One line of the result, on stdout. `style`: as `click.style` takes it."""
    click.secho(plain(line), **style)


def show_json(value: Any) -> None:
    """The result for machines, one line on stdout: the same value without characters that a terminal obeys."""
    text = json.dumps(value, ensure_ascii=False)
    click.echo("".join(json.dumps(character)[1:-1] if is_control(character) else character for character in text))
