"""An audit in the terminal: progress and outcome for people on stderr, the result for programs on stdout."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict

from labelaudit.audit import describe
from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.references import AuditReference
from labelaudit.audits.results import gate_failure, load_summary
from labelaudit.cli.console import say, show, show_json
from labelaudit.codec import to_record
from labelaudit.findings import Summary
from labelaudit.report.changes import counted_issues

# Between two lines about encoded rows: on a terminal, and in a log.
_SECONDS_ON_TERMINAL = 2.0
_SECONDS_IN_LOG = 30.0


class ConsoleProgress:
    """Progress as lines on stderr: every epoch on a terminal, about four epochs of each fold in a log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folds = 0
        self._started = time.monotonic()
        self._encoding: _EncodingProgress | None = None

    def prepared(self, plan: Plan) -> None:
        self._folds = plan.folds * plan.repeats
        for line in describe(plan):
            say(line)

    def encoding(self, place: str, rows: int, stored: int) -> None:
        say(f"encoding {rows:,} rows {place}" + (f" ({stored:,} are already encoded)" if stored else ""))
        self._encoding = _EncodingProgress(rows, time.monotonic())

    def encoded(self, shard: int, rows: int, of: int) -> None:
        now = time.monotonic()
        with self._lock:
            assert self._encoding is not None
            if line := self._encoding.line(shard, rows, of, now):
                say(f"  {now - self._started:5.0f} s  {line}")

    def training(self, place: str) -> None:
        say(f"training {self._folds} folds {place}")

    def epoch(self, fold: int, epoch: int, epochs: int, loss: float) -> None:
        step = 1 if sys.stderr.isatty() else max(1, epochs // 4)
        if epoch % step and epoch != epochs:
            return
        seconds = time.monotonic() - self._started
        with self._lock:
            say(f"  {seconds:5.0f} s  fold {fold + 1}/{self._folds}  epoch {epoch}/{epochs}  loss {loss:.3f}")


class _EncodingProgress:
    """How many rows of all shards are encoded, how fast, and how long the others will take."""

    def __init__(self, rows: int, started: float) -> None:
        self._rows = rows
        self._by_shard: dict[int, int] = {}
        self._shown = started
        # When the first rows were encoded, and how many. Before, processes start and load the encoder.
        self._first: tuple[float, int] | None = None

    def line(self, shard: int, rows: int, of: int, now: float) -> str | None:
        """Return the progress in words; None if it is too early for another line.

        Args:
            shard: The shard that has made progress.
            rows: Its encoded rows.
            of: All of its rows.
            now: Seconds, as `time.monotonic` counts them.
        """
        self._by_shard[shard] = rows
        done = sum(self._by_shard.values())
        since, first_rows = self._first = self._first or (now, done)
        pause = _SECONDS_ON_TERMINAL if sys.stderr.isatty() else _SECONDS_IN_LOG
        if rows < of and now - self._shown < pause:
            return None
        self._shown = now
        # The number of all rows is an estimate if the shards have different sizes.
        total = max(done, self._rows)
        line = f"encoded {done:,} of {total:,} rows"
        if done <= first_rows or now <= since:
            return line
        per_second = (done - first_rows) / (now - since)
        left = f", {_duration((total - done) / per_second)} left" if done < total else ""
        return f"{line}, {per_second:,.0f} per second{left}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def say_audit(audit: AuditReference, summary: Summary) -> None:
    """Print the verdict of a published audit, and where its report is."""
    say()
    say(summary.verdict, bold=True)
    gate = summary.gate
    # A gate that failed is reported at the end, as the error.
    if gate and gate_failure(audit, summary) is None:
        say(gate.sentence)
        for rule in gate.broken_rules:
            say(f"  {rule.rule}: {rule.sentence}")
    for note in summary.notes:
        say(f"  note: {note}")
    for left in summary.left_out:
        # Columns and rows are named before a run starts.
        if left.kind == "file":
            say(f"  left out: {left.sentence}")
    if summary.changes is not None:
        say(f"  since {summary.changes.predecessor.version}: {counted_issues(summary.changes)}")
    for pair in summary.confusions[:3]:
        say(f"  {pair.given_label} -> {pair.suggested_label}: {pair.examples:,} flagged")
    if audit.status == "already_published":
        say("This audit was already published: nothing had to be trained.")
    say(f"Report: {audit.report_url}")


def show_audit(audit: AuditReference, storage_options: Mapping[str, object], as_json: bool) -> None:
    """Print the outcome for people on stderr, and the URL or one JSON object on stdout.

    Raises:
        GateFailedError: The gate of the audit failed. Everything is printed before.
    """
    summary = load_summary(audit, storage_options)
    say_audit(audit, summary)
    if as_json:
        show_json({**to_record(summary), **asdict(audit)})
    else:
        show(audit.audit_url)
    if (failure := gate_failure(audit, summary)) is not None:
        raise failure
