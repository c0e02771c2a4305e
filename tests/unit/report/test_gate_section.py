"""Gate and canaries in page, summary and Markdown: words for every outcome, and text that stays text."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from labelaudit.codec import to_record
from labelaudit.report.page import render_page
from labelaudit.report.summary import markdown
from support.contents import make_content

HOSTILE = "<img src=x onerror=alert(1)>[x](http://x)|**b**"
GATE: dict[str, Any] = {
    "verdict": "failed",
    "sentence": "The gate failed: 1 of 2 rules is broken: max_flagged_share.",
    "rules": [
        {
            "rule": "max_flagged_share",
            "measured": 0.3,
            "limit": 0.1,
            "outcome": "failed",
            "sentence": f"Of {HOSTILE} too many are flagged.",
        },
        {
            "rule": f"max_class_flagged_share: {HOSTILE}",
            "measured": None,
            "limit": 0.5,
            "outcome": "not measured",
            "sentence": "Not measured: no reason.",
        },
    ],
}
SHARE = {"planted": 50, "caught": 45, "recall": 0.9, "low": 0.7864, "high": 0.9565}
CANARIES = {**SHARE, "random": SHARE, "likely": SHARE}


def body(**content: Any) -> str:
    return render_page(make_content(**content)).partition("</style>")[2]


def section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}"')[2].partition("</section>")[0]


def test_the_gate_is_in_the_page_in_words() -> None:
    page = body(gate=GATE)
    gate = section(page, "gate")
    assert 'Gate <span class="outcome failed">failed</span>' in gate
    assert '<span class="outcome not-measured">not measured</span>' in gate
    assert GATE["sentence"] in gate
    assert "<img src=x" not in page
    assert page.index('id="gate"') < page.index('id="examples"')
    assert '<a href="#gate">Gate</a>' in page


def test_no_gate_no_section() -> None:
    page = body()
    assert 'id="gate"' not in page
    assert "#gate" not in page
    assert 'id="canaries"' not in page


def test_canaries_are_in_the_page() -> None:
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", section(body(canaries=CANARIES), "canaries"))
    row = ["50", "45", "90.0 %", "78.6 % to 95.7 %"]
    assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in cells] == row * 3
    of_two_classes = section(body(canaries={**CANARIES, "likely": None}), "canaries")
    assert of_two_classes.count("<tr>") == 3
    assert "With two classes, the other class is always the most probable one." in of_two_classes


def test_the_gate_in_markdown() -> None:
    summary = make_content(gate=GATE, canaries=CANARIES).summary
    assert summary.gate is not None
    assert summary.canaries is not None
    assert (to_record(summary.gate), to_record(summary.canaries)) == (GATE, CANARIES)
    text = markdown(summary)
    assert "## Gate: failed" in text
    assert "- **failed** max\\_flagged\\_share: Of &lt;img" in text
    assert "](http" not in text
    assert "## Gate" not in markdown(replace(summary, gate=None))
