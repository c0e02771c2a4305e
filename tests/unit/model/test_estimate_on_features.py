"""Estimated seconds of probe and neighbours, with a machine whose speed is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.model import neighbours, probe
from labelaudit.model.estimate_on_features import (
    NEIGHBOURS_CHOOSE_BY,
    PROBE_CHOOSES_BY,
    REFERENCES,
    FeatureShape,
    Fit,
    final_probe,
    measured_on,
    neighbours_seconds,
    probe_seconds,
    whole_probe,
)

SHAPES = st.builds(
    FeatureShape,
    rows=st.integers(1_000, 2_000_000),
    held_out=st.integers(250, 500_000),
    dim=st.integers(2, 4_096),
    num_classes=st.integers(2, 1_000),
)


def known_machine(fit: Fit, shape: FeatureShape) -> float:
    """Return the seconds of a machine whose work is in proportion to what a fold computes."""
    if fit in (whole_probe, final_probe):
        chosen_by = min(shape.rows, PROBE_CHOOSES_BY) if fit is whole_probe else 0
        return 1e-9 * shape.dim * shape.num_classes * (20 * chosen_by + shape.rows + 5_000)
    predicted = shape.held_out + min(shape.rows, NEIGHBOURS_CHOOSE_BY)
    return 1e-4 * shape.num_classes + 1e-9 * shape.dim * predicted * min(shape.rows, REFERENCES["cpu"])


def of_probe(shape: FeatureShape) -> float:
    return probe_seconds(shape, known_machine)


def of_neighbours(shape: FeatureShape) -> float:
    return neighbours_seconds(shape, known_machine, REFERENCES["cpu"])


@given(SHAPES)
def test_a_sample_predicts_the_whole(shape: FeatureShape) -> None:
    assert of_probe(shape) == pytest.approx(known_machine(whole_probe, shape))
    assert of_neighbours(shape) == pytest.approx(known_machine(lambda *_: None, shape))


@given(SHAPES, st.floats(1.1, 20))
def test_an_estimate_grows_with_rows_dims_and_classes(shape: FeatureShape, factor: float) -> None:
    for name in ("rows", "dim", "num_classes"):
        larger = replace(shape, **{name: round(getattr(shape, name) * factor) + 1})
        assert of_probe(larger) > of_probe(shape)
        # With 50,000 references, more rows to learn from take no longer.
        assert of_neighbours(larger) > of_neighbours(shape) or (name == "rows" and shape.rows >= REFERENCES["cpu"])
    assert of_neighbours(replace(shape, held_out=2 * shape.held_out)) > of_neighbours(shape)


def test_few_rows_of_many_classes_can_be_measured() -> None:
    shape = FeatureShape(rows=50, held_out=10, dim=6, num_classes=40)
    measure = measured_on("cpu")
    assert probe_seconds(shape, measure) > 0
    assert neighbours_seconds(shape, measure, REFERENCES["cpu"]) > 0


def test_limits_are_those_of_the_views() -> None:
    assert probe._MAX_ROWS_TO_CHOOSE_BY == PROBE_CHOOSES_BY
    assert neighbours._MAX_SAMPLE == NEIGHBOURS_CHOOSE_BY
    assert neighbours._MAX_REFERENCES == REFERENCES
