"""Lines of JSON between an audit and its worker processes: what arrives is what was sent."""

from __future__ import annotations

import pytest

from labelaudit.audits.jobs import EpochEnded, FoldJob, RowsEncoded, ShardJob
from labelaudit.audits.references import EncodingReference, PlanReference
from labelaudit.local.messages import JobDone, JobFailed, JobRequest, WorkerAnswer, read_answer, read_request, to_line

REFERENCE = PlanReference(
    dataset_url="s3://data/v1",
    output_url="s3://audits",
    storage_options={"endpoint_url": "http://here"},
    cache_bytes=None,
    key="_work/prepared.json",
    sha256="0" * 64,
    checkpoint_minutes=10,
    marker=None,
    state=None,
)
ENCODING = EncodingReference("_work/encoding.parquet", "1" * 64, shards=3, rows=70, stored=5)


@pytest.mark.parametrize("job", [FoldJob(REFERENCE, 4), ShardJob(REFERENCE, 2, ENCODING)])
def test_requests(job: FoldJob | ShardJob) -> None:
    line = to_line(JobRequest(job))
    assert line.count("\n") == 1
    assert read_request(line) == JobRequest(job)


@pytest.mark.parametrize(
    "answer",
    [
        EpochEnded(3, 12, 0.25),
        RowsEncoded(64, 4096),
        JobDone(),
        JobFailed("DatasetError", "Row 3 is damaged.\nRead it."),
    ],
)
def test_answers(answer: WorkerAnswer) -> None:
    line = to_line(answer)
    assert line.count("\n") == 1
    assert read_answer(line) == answer


def test_progress_in_words() -> None:
    assert FoldJob(REFERENCE, 4).name == "fold 4"
    assert ShardJob(REFERENCE, 0, ENCODING).name == "shard 0"
    assert str(EpochEnded(3, 12, 0.25)) == "epoch 3 of 12, loss 0.250"
    assert str(RowsEncoded(1024, 4096)) == "1,024 of 4,096 rows"
    assert (EpochEnded(3, 12, 0.25).share, RowsEncoded(1024, 4096).share) == (0.25, 0.25)
