"""Words among numbers, which turn a column of numbers into categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.text import listing

# Share of numbers from which the other words look like missing values or typing errors.
STRAY_SHARE = 0.9
# A column with more words is a category.
MAX_STRAY_WORDS = 10
# Fewer values show a pattern by chance.
MIN_VALUES = 20
# Different numbers in a column with stray words. Codes such as 1, 2, 3 and S are categories.
MIN_DISTINCT_NUMBERS = 10
_NUMBER = r"^\s*[-+]?(\d[\d ,.']*|[.,]\d+)([eE][-+]?\d+)?\s*$"


class StrayWords:
    """Counts the words that are not numbers in a column of strings, as long as there are few of them."""

    def __init__(self) -> None:
        self.numbers = 0
        self.words: Counter[str] = Counter()
        self._is_possible = True

    def add(self, values: pa.Array | pa.ChunkedArray) -> None:
        """Take the next values, strings or null."""
        if not self._is_possible:
            return
        values = values.filter(pc.not_equal(values, ""))
        is_number = pc.match_substring_regex(values, _NUMBER)
        self.numbers += pc.sum(is_number).as_py() or 0
        for word in pc.value_counts(values.filter(pc.invert(is_number))):
            self.words[word["values"].as_py()] += word["counts"].as_py()
        # Stop early, because a column of other strings has as many words as rows.
        self._is_possible = len(self.words) <= 10 * MAX_STRAY_WORDS

    def total(self) -> int:
        """Return the number of values that are not empty."""
        return self.numbers + self.words.total()

    def are_stray(self) -> bool:
        """Return whether nearly all values are numbers, and the others few different words."""
        is_short = self._is_possible and 0 < len(self.words) <= MAX_STRAY_WORDS
        return is_short and self.total() >= MIN_VALUES and self.numbers >= STRAY_SHARE * self.total()

    def listed(self) -> str:
        """Return the words with their counts, for people."""
        return listing(
            f"{word!r} ({count:,} {'time' if count == 1 else 'times'})" for word, count in self.words.most_common()
        )


def distinct_numbers(values: Iterable[str]) -> int:
    """Return how many of the different values look like numbers."""
    return int(pc.sum(pc.match_substring_regex(pa.array(set(values), pa.large_string()), _NUMBER)).as_py() or 0)


def missing_remedy(format: str) -> str:
    """Return what to do if words mean a missing value, as the end of a sentence."""
    return "add them to dataset.csv.missing" if format == "csv" else "write numbers and nulls instead"
