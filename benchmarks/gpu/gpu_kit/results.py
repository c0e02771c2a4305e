"""Results of points, written to disk after every figure so that a kill loses nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Value = float | int | str | None


@dataclass(frozen=True)
class Figure:
    """One row of a table.

    `value` None: not known here, such as the utilisation of a GPU that is not there. `is_met` says whether the value
    reaches `target`; None if there is no target, or if a rehearsal makes it meaningless.
    """

    name: str
    value: Value
    unit: str = ""
    target: str | None = None
    is_met: bool | None = None


@dataclass(frozen=True)
class PointResult:
    """A finished or failed point. `status`: done, failed, timed out or not started."""

    point: str
    title: str
    status: str
    seconds: float
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def is_done(self) -> bool:
        return self.status == "done"


class Record:
    """Figures and notes of one point, in a file that is complete after every addition."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._figures: list[Figure] = []
        self._notes: list[str] = []

    def figure(
        self, name: str, value: Value, unit: str = "", *, target: str | None = None, is_met: bool | None = None
    ) -> None:
        rounded = _rounded(value) if isinstance(value, float) else value
        self._figures.append(Figure(name, rounded, unit, target, is_met))
        self._write()

    def note(self, sentence: str) -> None:
        self._notes.append(sentence)
        self._write()

    def _write(self) -> None:
        write_json(self._path, {"figures": [asdict(figure) for figure in self._figures], "notes": self._notes})


def read_record(path: Path) -> tuple[list[Figure], list[str]]:
    """Return the figures and notes that a point has recorded so far."""
    if not path.exists():
        return [], []
    content = json.loads(path.read_text())
    return [Figure(**figure) for figure in content["figures"]], content["notes"]


def results_as_json(results: Sequence[PointResult]) -> list[dict[str, Any]]:
    return [asdict(result) for result in results]


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def _rounded(value: float) -> float:
    """Format a number with four significant digits, more than these measurements have."""
    return float(f"{value:.4g}") if abs(value) < 1000 else float(round(value))
