"""Tables of calibration: ranges, p_wrong, and what training dynamics change."""

from __future__ import annotations

from collections.abc import Sequence

from detection_bench.cells import PLANTED, REAL
from detection_bench.formats import NONE, percent, points, share, table
from detection_bench.measures import BIN_STARTS, OURS, WITH_DYNAMICS, CellFigures
from detection_bench.noise import KINDS, RATES

_Cells = Sequence[CellFigures]


def coverage_table(real: _Cells, planted: _Cells) -> str:
    """Return how often ranges contain the truth, by whether they were narrowed."""
    groups = [("real errors", real)]
    groups += [(origin, [cell for cell in planted if cell.name.origin == origin]) for origin in PLANTED]
    groups += [(f"planted: {kind}", [cell for cell in planted if cell.name.kind == kind]) for kind in KINDS]
    groups.append(("planted: all", planted))
    rows = []
    for title, cells in groups:
        if not cells:
            continue
        narrowed = [cell for cell in cells if cell.is_narrowed]
        others = [cell for cell in cells if not cell.is_narrowed]
        rows.append(
            [title, *(coverage(part) for part in (cells, others, narrowed)), *misses(narrowed), *misses(others)]
        )
    head = ("cells", "all", "as estimated", "narrowed to a factor of 3")
    return table((*head, "narrowed: truth below", "above", "as estimated: truth below", "above"), rows)


def coverage(cells: _Cells) -> str:
    covered_cells = sum(cell.is_covered for cell in cells)
    return f"{covered_cells / len(cells):.0%} ({covered_cells} of {len(cells)})" if cells else NONE


def misses(cells: _Cells) -> list[str]:
    """Return how often the truth is below and above the range."""
    return [str(sum(cell.wrong < cell.low for cell in cells)), str(sum(cell.wrong > cell.high for cell in cells))]


def reliability_table(cells: _Cells) -> str:
    """Return predicted and observed shares of wrong labels for bins of p_wrong, and the calibration error."""
    groups = {
        origin: [cell for cell in cells if cell.name.origin == origin and cell.name.kind != "none"]
        for origin in (*PLANTED, *REAL)
    }
    groups = {origin: of_origin for origin, of_origin in groups.items() if of_origin}
    rows = [
        [f"{start:g} to {end:g}", *(reliability_of(of_origin, number) for of_origin in groups.values())]
        for number, (start, end) in enumerate(zip(BIN_STARTS, (*BIN_STARTS[1:], 1.0), strict=True))
    ]
    rows.append(["mean calibration error, points", *(mean_error(of_origin) for of_origin in groups.values())])
    titles = (f"{origin} ({len(of_origin)} cells)" for origin, of_origin in groups.items())
    each = [f"{cell.name} {mean_error([cell])}" for origin in REAL for cell in groups.get(origin, [])]
    note = f"\n\nCalibration error of each set with real errors, in points: {', '.join(each)}." if each else ""
    return table(("p_wrong", *titles), rows) + note


def reliability_of(cells: _Cells, number: int) -> str:
    """Return the predicted share, the observed one and the rows of one bin."""
    bins = [cell.bins[number] for cell in cells]
    count = sum(one.rows for one in bins)
    if not count:
        return NONE
    predicted, observed = sum(one.expected for one in bins) / count, sum(one.wrong for one in bins) / count
    return f"{percent(predicted)} / {percent(observed)} ({count:,})"


def calibration_table(cells: _Cells) -> str:
    """Return the mean calibration error by kind and rate, in percentage points."""
    rows = []
    for kind in KINDS:
        of_kind = [cell for cell in cells if cell.name.kind == kind]
        new = [cell for cell in of_kind if cell.name.origin == PLANTED[1]]
        if of_kind:
            groups = [[cell for cell in of_kind if cell.name.rate == rate] for rate in RATES]
            rows.append([kind, *map(mean_error, (*groups, of_kind, new))])
    return table(("kind", *(f"{rate:.0%}" for rate in RATES), "all rates", "new data only"), rows)


def mean_error(cells: _Cells) -> str:
    """Return the mean calibration error of cells, in percentage points."""
    errors = [error for cell in cells if (error := cell.methods[OURS].calibration_error) is not None]
    return points(sum(errors) / len(errors)) if errors else NONE


def dynamics_table(cells: _Cells) -> str:
    """Return what training dynamics change, for audits that have them."""
    rows = []
    for cell in cells:
        if WITH_DYNAMICS not in cell.methods:
            continue
        pair = cell.methods[OURS], cell.methods[WITH_DYNAMICS]
        rows.append(
            [
                str(cell.name),
                *(share(one.average_precision) for one in pair),
                *(share(one.auroc) for one in pair),
                *(share(one.f1) for one in pair),
                *(share(one.best_f1) for one in pair),
                *(share(one.precision) for one in pair),
                *(points(one.calibration_error) for one in pair),
            ]
        )
    names = ("AP", "AUROC", "F1", "best F1", "precision", "ECE")
    return table(("set", *(column for name in names for column in (name, "with"))), rows) if rows else ""
