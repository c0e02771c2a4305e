"""Writes the results as Markdown, ready to be committed as docs/gpu.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpu_kit.results import Figure, PointResult, Value

_HEAD = """# Measurements on a GPU

Written by `benchmarks/gpu/run`, whose [README](../benchmarks/gpu/README.md) says what it measures and how to run it.
Each point ran in a process of its own. The datasets were drawn by code: {images:,} images of 32x32 pixels with planted
label errors, and {photos:,} JPEG photographs of 256 to 500 pixels a side. No figure includes the time to draw them.
"""
_REHEARSAL = """
**This is a rehearsal on a CPU with tiny sizes. It shows that the code runs; its figures mean nothing.**
"""


def markdown(
    results: Sequence[PointResult],
    machine: Mapping[str, str | None],
    *,
    images: int,
    photos: int,
    is_rehearsal: bool,
    seconds: float,
) -> str:
    parts = [_HEAD.format(images=images, photos=photos), _REHEARSAL if is_rehearsal else ""]
    parts.append("\n## Machine\n\n| | |\n|---|---|\n")
    parts += [f"| {name} | {_cell(value)} |\n" for name, value in machine.items()]
    parts.append("\n## Points\n\n| point | status | seconds | targets |\n|---|---|---:|---|\n")
    for number, result in enumerate(results, start=1):
        parts.append(f"| {number}. {result.title} | {result.status} | {result.seconds:.0f} | {_targets(result)} |\n")
    parts.append(f"\nAll points and drawing the datasets took {seconds:.0f} s.\n")
    for number, result in enumerate(results, start=1):
        parts.append(_section(number, result))
    return "".join(parts)


def _section(number: int, result: PointResult) -> str:
    lines = [f"\n## {number}. {result.title}\n"]
    if result.error is not None:
        first, *rest = result.error.splitlines()
        lines.append(f"\n**{result.status.capitalize()}.** {first}\n")
        if rest:
            lines.append("\n```text\n" + "\n".join(rest) + "\n```\n")
    if result.figures:
        lines.append("\n| | value | target |\n|---|---:|---|\n")
        lines += [f"| {figure.name} | {_value(figure)} | {_target(figure)} |\n" for figure in result.figures]
    lines += [f"\n{note}\n" for note in result.notes]
    return "".join(lines)


def _value(figure: Figure) -> str:
    text = _cell(figure.value)
    return text if figure.value is None or not figure.unit else f"{text} {figure.unit}"


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    return figure.target + {True: ": reached", False: ": **missed**", None: ""}[figure.is_met]


def _targets(result: PointResult) -> str:
    judged = [figure.is_met for figure in result.figures if figure.is_met is not None]
    return f"{sum(judged)} of {len(judged)} reached" if judged else ""


def _cell(value: Value) -> str:
    if value is None:
        return "not available"
    if isinstance(value, int | float) and abs(value) >= 1000:
        return f"{value:,.0f}"
    return str(value).replace("|", "\\|").replace("\n", " ")
