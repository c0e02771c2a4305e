"""Which examples are listed as ambiguous, in which order, and what the page shows of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from labelaudit.report.ambiguous import AMBIGUOUS_ROWS, ambiguous_examples
from labelaudit.report.page import render_page
from labelaudit.schemas import EXAMPLES
from support.contents import make_content


def examples(**columns: list[object]) -> pa.Table:
    """Return an EXAMPLES table; columns that are not given are null."""
    rows = len(columns["example_id"])
    return pa.table(
        [pa.array(columns.get(name, [None] * rows), EXAMPLES.field(name).type) for name in EXAMPLES.names],
        schema=EXAMPLES,
    )


def listed(**columns: list[object]) -> list[object]:
    return [row["example_id"] for row in ambiguous_examples(examples(**columns))]


def test_unclear_rows_with_the_largest_spread_come_first() -> None:
    ids = ["right", "small", "wrong", "large", "judged", "unscored", "equal"]
    p_wrong = [0.05, 0.5, 0.95, 0.2, 0.5, None, 0.9]
    spread = [0.5, 0.1, 0.5, 0.4, 0.5, None, 0.1]
    verdict = [None] * 4 + ["fine"] + [None] * 2
    assert listed(example_id=ids, p_wrong=p_wrong, dynamics_spread=spread, verdict=verdict) == [
        "large",
        "equal",
        "small",
    ]


def test_there_are_none_without_dynamics() -> None:
    assert listed(example_id=["a", "b"], p_wrong=[0.5, 0.5]) == []


def test_the_list_is_short() -> None:
    ids = [f"row-{number:03d}" for number in range(3 * AMBIGUOUS_ROWS)]
    spread = np.linspace(0, 0.5, len(ids)).tolist()
    assert listed(example_id=ids, p_wrong=[0.5] * len(ids), dynamics_spread=spread) == ids[: -AMBIGUOUS_ROWS - 1 : -1]


def test_the_page_shows_the_list_only_if_there_is_one() -> None:
    content = make_content()
    assert "Most ambiguous examples" not in render_page(content)
    row = {"example_id": "<b>1", "given_label": "cat", "predicted_label": "dog", "dynamics_spread": 0.4375}
    page = render_page(replace(content, ambiguous=[row]))
    assert "Most ambiguous examples" in page
    assert "&lt;b&gt;1" in page
    assert "0.438" in page
    assert page.index("Most ambiguous examples") < page.index("Reviewed by people")
