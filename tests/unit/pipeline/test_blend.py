"""The note about views that no fold uses."""

from __future__ import annotations

import pytest

from labelaudit.pipeline.blend import note_of_unused_views

VIEWS = ["network", "probe", "neighbours"]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([(0.5, 0.5, 0.0), (0.9, 0.0, 0.1)], None),
        ([(1.0, 0.0, 0.0), (0.8, 0.0, 0.2)], "The view probe is not used, because predictions are as good without it."),
        (
            [(1.0, 0.0, 0.0)] * 2,
            "The views probe and neighbours are not used, because predictions are as good without them.",
        ),
    ],
)
def test_views_that_no_fold_uses_are_named(weights: list[tuple[float, ...]], said: str | None) -> None:
    assert note_of_unused_views(VIEWS, weights) == (() if said is None else (said,))
