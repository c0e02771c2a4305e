"""`labelaudit demo`: the real flow on real images with planted label errors."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

from labelaudit.audits.references import AuditReference
from labelaudit.audits.results import load_summary
from labelaudit.cli.console import say, show, show_json
from labelaudit.cli.outcome import say_audit
from labelaudit.codec import from_record
from labelaudit.config import build_config
from labelaudit.data.noise import plant_noise

NOISE_SHARE = 0.06
NOISE_SEED = 0


@dataclass(frozen=True)
class PlantedErrors:
    """How many of the planted label errors an audit found."""

    planted: int
    flagged: int
    found_among_flagged: int
    found_at_top: int  # among the `planted` most doubtful examples


def run_demo(output: str, as_json: bool) -> None:
    """Write the dataset, audit it, and report what was found."""
    folder = Path(output).absolute()
    planted = write_digits(folder / "digits.parquet")
    say(f"Wrote {folder / 'digits.parquet'}: 1,797 images of handwritten digits with {len(planted)} wrong labels.")
    say("Starting a temporary Prefect server and the flow audit-dataset …")
    config = {
        "dataset": {"url": str(folder / "digits.parquet"), "version": "demo"},
        "output": {"url": str(folder / "audits")},
    }
    with _temporary_prefect():
        # Imported late, because Prefect reads its settings when it is imported.
        from labelaudit.orchestration.audit_dataset import audit_dataset

        audit = from_record(AuditReference, audit_dataset(build_config(config)))
    found = count_found(pq.read_table(Path(audit.audit_url) / "examples.parquet"), planted)
    say_audit(audit, load_summary(audit, {}))
    say(
        f"Of {found.planted} planted errors, {found.found_among_flagged} are among the {found.flagged} "
        f"flagged, and {found.found_at_top} among the {found.planted} most doubtful examples."
    )
    if as_json:
        show_json({**asdict(audit), "planted_errors": asdict(found)})
    else:
        show(audit.audit_url)


def write_digits(path: Path, seed: int = NOISE_SEED) -> set[str]:
    """Write scikit-learn's digits as PNG images with planted label errors, and return the ids of the errors."""
    digits = load_digits()
    labels, is_flipped = plant_noise(digits.target, share=NOISE_SHARE, num_classes=10, seed=seed)
    ids = np.array([f"digit-{number:04d}" for number in range(len(labels))])
    table = pa.table(
        {
            "id": pa.array(ids),
            "image": pa.array([_png(pixels) for pixels in digits.images], pa.binary()),
            "label": pa.array([str(label) for label in labels]),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return set(ids[is_flipped].tolist())


def count_found(examples: pa.Table, planted: set[str]) -> PlantedErrors:
    """Compare an audit's `examples.parquet` with the ids of the planted errors."""
    frame = examples.to_pandas()
    flagged = set(frame.loc[frame.is_label_issue.eq(True), "example_id"])
    ranked = frame.sort_values(["p_wrong", "label_score"], ascending=[False, True])
    top = set(ranked.example_id.head(len(planted)))
    return PlantedErrors(len(planted), len(flagged), len(flagged & planted), len(top & planted))


def _png(pixels: np.ndarray) -> bytes:
    """Return an image of (8, 8) grey levels in 0..16 as a PNG file."""
    sink = io.BytesIO()
    Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(sink, "PNG")
    return sink.getvalue()


@contextmanager
def _temporary_prefect() -> Iterator[None]:
    """Let Prefect start a server for this process alone, with its files in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="labelaudit-demo-") as home:
        settings: Mapping[str, str] = {
            "PREFECT_HOME": home,
            "PREFECT_PROFILES_PATH": f"{home}/profiles.toml",
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
            # On a busy machine, a new database takes longer than the default of 20 s.
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(asctime)s  %(message)s",
            "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s  %(task_run_name)s: %(message)s",
            # Show the steps of the run, but not the log of the server.
            "PREFECT_LOGGING_LOGGERS_PREFECT_LEVEL": "WARNING",
            "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",
            "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            # The server is started as `python -m uvicorn`, which would import a random.py of the user's folder.
            "PYTHONSAFEPATH": "1",
        }
        os.environ.pop("PREFECT_API_URL", None)
        os.environ.update(settings)
        yield
