"""Lines in the terminal, where text of a dataset is text: nothing in it is obeyed.

Imports nothing of ours, so that every command can speak at once.
"""

from __future__ import annotations

import json
from typing import Any
from unicodedata import category

import click


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
    click.echo("".join(json.dumps(sign)[1:-1] if _is_obeyed(sign) else sign for sign in text))


def plain(text: str) -> str:
    """Text without what a terminal would obey: control characters, those that turn the direction, and their kin."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_obeyed(sign) else sign for sign in text)


def _is_obeyed(sign: str) -> bool:
    return category(sign).startswith("C")
