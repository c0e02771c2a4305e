from __future__ import annotations

import numpy as np

from labelaudit.report.vector_text import vector_description, vector_excerpt


def test_a_card_has_length_norm_and_first_numbers() -> None:
    assert vector_excerpt(np.array([3, 4], np.float32)) == "2 numbers, norm 5: 3, 4"
    long = np.zeros(1024, np.float32)
    long[0] = 1e-5
    assert vector_excerpt(long) == "1,024 numbers, norm 1e-05: 1e-05, 0, 0, 0, 0, 0, \N{HORIZONTAL ELLIPSIS}"


def test_a_norm_beyond_float32_is_shown() -> None:
    assert vector_excerpt(np.full(2, 3e38, np.float32)).startswith("2 numbers, norm 4.24e+38: 3e+38")


def test_a_preview_has_more_numbers_and_their_range() -> None:
    vector = np.arange(-50, 50, dtype=np.float32)
    first, second = vector_description(vector).split("\n\n")
    assert first == "100 numbers, norm 289, from -50 to 49"
    assert second == ", ".join(map(str, range(-50, 14))) + ", \N{HORIZONTAL ELLIPSIS}"
    assert vector_description(vector[:2]).endswith("\n\n-50, -49")
