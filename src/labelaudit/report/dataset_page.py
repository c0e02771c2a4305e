"""All audits of a dataset as one HTML page without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from markupsafe import Markup

from labelaudit.report.charts import TrendPoint, spark_line, trend_chart
from labelaudit.report.html import Context, render, template_file
from labelaudit.report.palette import page_css
from labelaudit.report.trend import AuditEntry, direction, in_order
from labelaudit.shares import short_range

# Audits in the open table and on the whole page. The figures of all versions are in trend.parquet.
_OPEN_AUDITS = 30
MOST_AUDITS = 2000
# Classes in the table, and versions in the line of a class.
_CLASSES = 24
CLASS_VERSIONS = 100


def render_site(dataset: str, entries: Sequence[AuditEntry], made_from: str) -> str:
    """Return one HTML document. The same entries give the same bytes.

    Args:
        dataset: its name.
        entries: all audits, oldest first.
        made_from: identifies the records of the entries. It is in the head of the document.
    """
    versions = in_order(entries)
    newest_first = [_audit(entry) for entry in reversed(entries)]
    return render(
        "site.html.jinja",
        dataset=dataset,
        made_from=made_from,
        css=Markup(page_css()) + template_file("page.css") + template_file("site.css"),
        direction=direction(entries),
        versions=len(versions),
        latest=_audit(versions[-1]) if versions else None,
        chart=trend_chart([_trend_point(entry) for entry in versions]) if len(versions) > 1 else None,
        has_other_settings=any(entry.changed_settings for entry in versions),
        has_held=any(entry.gate == "failed" for entry in versions),
        has_gate=any(entry.gate for entry in entries),
        classes=_classes(versions),
        class_count=sum(len(entry.classes) for entry in versions[-1:]),
        open_audits=newest_first[:_OPEN_AUDITS],
        more_audits=newest_first[_OPEN_AUDITS:MOST_AUDITS],
        audits=len(newest_first),
    )


def _audit(entry: AuditEntry) -> Context:
    values = {name: getattr(entry, name) for name in AuditEntry.__dataclass_fields__}
    # "./" keeps a name with a colon from being read as a scheme; S3 takes a bare "+" for a space.
    href = f"./{quote(entry.folder, safe='/=')}/report.html"
    return {**values, "wrong": short_range(entry.error_range, entry.staying) if entry.scored else "-", "href": href}


def _trend_point(entry: AuditEntry) -> TrendPoint:
    return TrendPoint(
        version=entry.version,
        error_range=entry.error_range,
        rows=entry.staying,
        flagged_share=entry.issues / max(entry.staying, 1),
        is_held=entry.gate == "failed",
        has_other_settings=bool(entry.changed_settings),
    )


def _classes(versions: Sequence[AuditEntry]) -> list[Context]:
    """Return the classes of the newest version with the most label noise, each with a line over the versions."""
    shown = versions[-CLASS_VERSIONS:]
    if not shown:
        return []
    judged = [row for row in shown[-1].classes.to_pylist() if row["label_noise"] is not None]
    worst = sorted(judged, key=lambda row: (-row["label_noise"], row["class_name"]))[:_CLASSES]
    noise = [_noise(entry) for entry in shown]
    lines = [[by_class.get(row["class_name"]) for by_class in noise] for row in worst]
    top = max((share for line in lines for share in line if share is not None), default=0.0)
    return [
        {**row, "before": line[-2] if len(line) > 1 else None, "line": spark_line(line, top)}
        for row, line in zip(worst, lines, strict=True)
    ]


def _noise(entry: AuditEntry) -> dict[str, float | None]:
    names, noise = (entry.classes[name].to_pylist() for name in ("class_name", "label_noise"))
    return dict(zip(names, noise, strict=True))
