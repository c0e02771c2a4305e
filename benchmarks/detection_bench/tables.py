"""Tables of the figures, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from detection_bench.calibration_tables import calibration_table, coverage_table, dynamics_table, reliability_table
from detection_bench.cells import PLANTED, REAL
from detection_bench.formats import (
    LOSS,
    best_marked,
    covered,
    is_loss,
    loss_mark,
    mean,
    percent,
    range_of,
    share,
    table,
)
from detection_bench.measures import ARGMAX, CLEANLAB, OURS, CellFigures
from detection_bench.noise import KINDS, RATES

METHODS = (OURS, CLEANLAB, ARGMAX)
_Cells = Sequence[CellFigures]


def page(figures: _Cells) -> str:
    """Return all tables."""
    real = [one for one in figures if one.name.origin in REAL and one.name.kind == "real"]
    planted = [one for one in figures if one.name.origin in PLANTED and one.name.kind != "none"]
    clean = [one for one in figures if one.name.kind == "none"]
    parts = [
        section("Real errors", real_table(real)),
        section("Planted noise: averages", planted_table(planted)),
        section("Planted noise by data and model", by_data_table(planted)),
        section("Does the range contain the true share?", coverage_table(real, planted)),
        section("Losses", losses(real, planted)),
        section("Labels without planted noise", clean_table(clean)),
        section("Calibration of p_wrong", reliability_table(figures)),
        section("Calibration error by kind and rate", calibration_table(planted)),
        section("With training dynamics", dynamics_table(real)),
        section("All cells with planted noise", cells_table(planted)),
    ]
    return "\n".join(part for part in parts if part)


def section(title: str, content: str) -> str:
    return f"## {title}\n\n{content}\n" if content else ""


def real_table(cells: _Cells) -> str:
    """Return a row for each method and set."""
    rows = []
    for cell in cells:
        for method in METHODS:
            figures = cell.methods[method]
            is_ours = method == OURS
            rows.append(
                [
                    f"{cell.name}{loss_mark(cell)}" if is_ours else "",
                    percent(cell.wrong) if is_ours else "",
                    method,
                    f"{range_of(cell)} {covered(cell)}" if is_ours else percent(figures.estimate),
                    *(share(value) for value in (figures.average_precision, figures.auroc)),
                    *(share(value) for value in (figures.f1, figures.best_f1, figures.precision)),
                    percent(figures.flagged),
                ]
            )
    head = ("set", "wrong", "method", "estimate", "AP", "AUROC", "F1", "best F1", "precision", "flagged")
    return table(head, rows)


def planted_table(cells: _Cells) -> str:
    """Return averages by kind and rate, by kind, and for data that is new."""
    groups: list[tuple[str, _Cells]] = []
    for kind in KINDS:
        of_kind = [cell for cell in cells if cell.name.kind == kind]
        groups += [(f"{kind}, {rate:.0%}", [c for c in of_kind if c.name.rate == rate]) for rate in RATES]
        groups.append((f"**{kind}**", of_kind))
    groups += [(f"**{origin}**", [c for c in cells if c.name.origin == origin]) for origin in PLANTED]
    groups.append(("**all**", cells))
    return averages(groups)


def by_data_table(cells: _Cells) -> str:
    """Return averages for each pair of data and model."""
    pairs = list(dict.fromkeys((cell.name.data, cell.name.model) for cell in cells))
    return averages(
        [
            (f"{data}, {model}", [c for c in cells if (c.name.data, c.name.model) == (data, model)])
            for data, model in pairs
        ]
    )


def averages(groups: Iterable[tuple[str, _Cells]]) -> str:
    """Return a row of means for each group of cells."""
    rows = []
    for title, cells in groups:
        if not cells:
            continue
        ours, theirs, argmax = ([cell.methods[method] for cell in cells] for method in METHODS)
        rows.append(
            [
                title,
                str(len(cells)),
                *(mean(of, lambda one: one.f1) for of in (ours, theirs, argmax)),
                mean(ours, lambda one: one.best_f1),
                *(mean(of, lambda one: one.average_precision) for of in (ours, theirs, argmax)),
                *(mean(of, lambda one: one.auroc) for of in (ours, theirs)),
                *(mean(of, lambda one: one.precision) for of in (ours, theirs)),
                mean(ours, lambda one: one.expected_precision),
                str(sum(is_loss(cell) for cell in cells)),
                f"{sum(cell.is_covered for cell in cells) / len(cells):.0%}",
            ]
        )
    head = ("cells", "n", "F1", "F1 c", "F1 a", "best F1", "AP", "AP c", "AP a", "AUROC", "AUROC c", "precision")
    return table((*head, "precision c", "expected precision", "losses", "in range"), rows)


def losses(real: _Cells, planted: _Cells) -> str:
    """Return the cells in which cleanlab's default has a higher F1, the largest loss first."""
    lines = []
    for title, cells in (("Real errors", real), ("Planted noise", planted)):
        if not cells:
            continue
        counts = [sum(is_loss(cell, least) for cell in cells) for least in (LOSS, 0.05)]
        wins = sum((cell.difference(CLEANLAB) or 0) > LOSS for cell in cells)
        to_argmax = sum(is_loss(cell, against=ARGMAX) for cell in cells)
        lines.append(
            f"{title}: of {len(cells)} cells, our F1 is lower than cleanlab's by more than .01 in {counts[0]} "
            f"(by more than .05 in {counts[1]}), and higher by more than .01 in {wins}. It is lower than that of "
            f"argmax ≠ given by more than .01 in {to_argmax}."
        )
    lost = sorted((c for c in (*real, *planted) if is_loss(c)), key=lambda cell: cell.difference(CLEANLAB) or 0)
    rows = [
        [
            str(cell.name),
            percent(cell.wrong),
            range_of(cell),
            *(share(cell.methods[method].f1) for method in METHODS),
            share(cell.methods[OURS].best_f1),
            percent(cell.methods[OURS].flagged),
            percent(cell.methods[CLEANLAB].flagged),
        ]
        for cell in lost
    ]
    head = ("cell", "wrong", "range", "F1", "F1 c", "F1 a", "best F1", "flagged", "flagged c")
    return "\n\n".join([*lines, table(head, rows)]) if rows else "\n\n".join(lines)


def clean_table(cells: _Cells) -> str:
    """Return the range and the flags for labels that are taken as right."""
    rows = [
        [
            str(cell.name),
            f"{cell.rows:,}",
            range_of(cell),
            *(f"{round(cell.methods[method].flagged * cell.rows):,}" for method in METHODS),
            percent(cell.methods[CLEANLAB].estimate),
        ]
        for cell in cells
    ]
    return table(("labels", "rows", "range", "flags", "flags c", "flags a", "estimate c"), rows)


def cells_table(cells: _Cells) -> str:
    """Return a row for each cell."""
    rows = [
        [
            f"{cell.name}{loss_mark(cell)}",
            percent(cell.wrong),
            f"{range_of(cell)} {covered(cell)}",
            *(share(cell.methods[method].f1) for method in METHODS),
            share(cell.methods[OURS].best_f1),
            *(share(cell.methods[method].average_precision) for method in METHODS),
            *(share(cell.methods[method].auroc) for method in (OURS, CLEANLAB)),
            *(share(cell.methods[method].precision) for method in (OURS, CLEANLAB)),
            percent(cell.methods[CLEANLAB].estimate),
            f"{cell.noise} {cell.certainty:.2f}",
        ]
        for cell in cells
    ]
    head = ("cell", "wrong", "range", "F1", "F1 c", "F1 a", "best F1", "AP", "AP c", "AP a", "AUROC", "AUROC c")
    return table((*head, "precision", "precision c", "estimate c", "noise found"), rows)


def compact_table(figures: _Cells) -> str:
    """Return the short table for the README: each set with real errors, and the averages of planted noise."""
    rows = [
        [
            f"{cell.name}{loss_mark(cell)}",
            percent(cell.wrong),
            f"{range_of(cell)} {covered(cell)}",
            percent(cell.methods[CLEANLAB].estimate),
            *best_marked([share(cell.methods[method].f1) for method in METHODS]),
            share(cell.methods[OURS].best_f1),
        ]
        for cell in figures
        if cell.name.origin in REAL and cell.name.kind == "real"
    ]
    for kind in KINDS:
        cells = [cell for cell in figures if cell.name.kind == kind and cell.name.origin in PLANTED]
        if cells:
            ours = [cell.methods[OURS] for cell in cells]
            rows.append(
                [
                    f"planted: {kind} ({len(cells)} cells, {sum(is_loss(cell) for cell in cells)} losses)",
                    "2 to 40 %",
                    f"{sum(cell.is_covered for cell in cells) / len(cells):.0%} in range",
                    "",
                    *best_marked(
                        [mean([cell.methods[method] for cell in cells], lambda one: one.f1) for method in METHODS]
                    ),
                    mean(ours, lambda one: one.best_f1),
                ]
            )
    head = ("labels", "wrong", "our range", "cleanlab's estimate", "F1", "F1 cleanlab", "F1 argmax", "best possible F1")
    return table(head, rows)
