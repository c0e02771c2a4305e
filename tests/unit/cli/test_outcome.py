"""Progress of an audit in the terminal."""

from __future__ import annotations

import time

import click
import pytest

from labelaudit.cli.outcome import ConsoleProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which tests set."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_encoding_shows_rows_per_second_and_what_is_left(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = ConsoleProgress()
    progress.encoding("on the CPU, 2 at a time, 1 thread each", 10_000, 250)
    for seconds, shard, rows in ((10, 0, 500), (40, 0, 2_000), (50, 1, 1_000), (70, 1, 1_500), (100, 0, 6_000)):
        clock[0] = 100.0 + seconds
        progress.encoded(shard, rows, 6_000 if shard == 0 else 4_000)
    clock[0] = 250.0
    progress.encoded(1, 4_000, 4_000)
    assert capsys.readouterr().err.splitlines() == [
        "encoding 10,000 rows on the CPU, 2 at a time, 1 thread each (250 are already encoded)",
        # In a log, a line every 30 seconds, and one at the end of each shard. The first 500 rows do not count, because
        # the encoder was loaded meanwhile.
        "     40 s  encoded 2,000 of 10,000 rows, 50 per second, 3 min left",
        "     70 s  encoded 3,500 of 10,000 rows, 50 per second, 2 min left",
        "    100 s  encoded 7,500 of 10,000 rows, 78 per second, 32 s left",
        "    150 s  encoded 10,000 of 10,000 rows, 68 per second",
    ]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress.encoding("in runs of encode-shard/gpu", 500_000, 0)
    for _ in range(2):
        clock[0] += 2
        progress.encoded(0, int(clock[0]) - 188, 4_096)
    assert click.unstyle(capsys.readouterr().err).splitlines() == [
        "encoding 500,000 rows in runs of encode-shard/gpu",
        "    152 s  encoded 64 of 500,000 rows",
        "    154 s  encoded 66 of 500,000 rows, 1 per second, 138.9 h left",
    ]


def test_a_shard_that_is_retried_counts_once(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress = ConsoleProgress()
    progress.encoding("on GPUs", 100, 0)
    for rows in (20, 90, 10, 100):
        clock[0] += 10
        progress.encoded(0, rows, 100)
    assert capsys.readouterr().err.splitlines()[-1] == "     40 s  encoded 100 of 100 rows, 3 per second"


def test_more_rows_than_expected(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress = ConsoleProgress()
    progress.encoding("on GPUs", 99, 0)
    clock[0] += 1
    progress.encoded(0, 101, 101)
    assert capsys.readouterr().err.splitlines()[-1] == "      1 s  encoded 101 of 101 rows"
