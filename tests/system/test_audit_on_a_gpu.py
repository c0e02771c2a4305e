"""Audits whose folds train on a GPU: workers see the GPU of their slot, and sharing it does not change a byte."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from labelaudit.audit import DirectCaller, run_audit
from labelaudit.local.machine import local_slots
from support.audits import Quiet, fold_bytes, settings, write_squares

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.new_interpreters,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_folds_train_on_the_gpu_of_their_slot(device: str, tmp_path: Path) -> None:
    config = settings(write_squares(tmp_path / "data"), tmp_path / "out", training={"device": device})
    assert local_slots(config)[0].gpu is not None
    published = run_audit(config, DirectCaller(Quiet()))
    folds = pq.read_table(Path(published.audit_url) / "folds.parquet").to_pydict()
    # A worker sees one GPU, whose number is 0.
    assert set(folds["device"]) == {"cuda:0"}
    assert all(0 < loss < float("inf") for loss in folds["training_loss"])


def test_folds_that_share_a_gpu_have_the_same_bytes(tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data")
    bytes_by_share = []
    for share in (1, 0.25):
        workers = {"gpus_per_fold": share, "threads": 1}
        config = settings(data, tmp_path / f"out-{share}", training={"device": "cuda"}, workers=workers)
        bytes_by_share.append(fold_bytes(run_audit(config, DirectCaller(Quiet()))))
    assert bytes_by_share[0] == bytes_by_share[1]
