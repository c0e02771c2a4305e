"""Other processes of the estimator: DataLoader workers, the compiler of torch.compile, and forks."""

from __future__ import annotations

import os
import signal
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from labelaudit.errors import InputError
from labelaudit.model.batches import bind_rows
from labelaudit.model.device import seeded
from labelaudit.model.features import TorchFeatures
from support.toys import CPU, DictLater, RowDataset, X, Y, same_weights, small

pytestmark = pytest.mark.slow


def test_worker_processes_give_the_same_batches_in_order() -> None:
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    rows = bind_rows(RowDataset(values), CPU, nn.Linear(4, 2), num_workers=2)
    for _ in range(2):
        chunks = [torch.tensor([9, 1]), torch.tensor([4]), torch.tensor([0, 2, 3])]
        for chunk, batch in zip(chunks, rows.batches(chunks), strict=True):
            np.testing.assert_array_equal(batch.numpy(), values[chunk.numpy()])
    taken = torch.tensor([3, 0, 3, 1])
    np.testing.assert_array_equal(rows.take(taken).numpy(), values[taken.numpy()])


def test_a_worker_process_reads_a_dataset_to_the_same_weights() -> None:
    ahead = small(num_workers=1, epochs=2).fit(RowDataset(X), Y)
    here = small(epochs=2).fit(RowDataset(X), Y)
    assert same_weights(ahead, here)
    np.testing.assert_array_equal(ahead.predict_proba(RowDataset(X)), here.predict_proba(RowDataset(X)))


def test_a_worker_process_reads_a_dataset_to_the_same_features() -> None:
    trained = small(epochs=2).fit(X, Y).module_
    ahead = TorchFeatures(trained, device="cpu", num_workers=1).fit(RowDataset(X)).transform(RowDataset(X))
    np.testing.assert_array_equal(ahead, TorchFeatures(trained, device="cpu").fit(X).transform(X))


def test_a_module_compiled_by_inductor_predicts_nearly_the_same() -> None:
    compiled = small(compile=True, epochs=2).fit(X, Y)
    np.testing.assert_allclose(compiled.predict_proba(X), small(epochs=2).fit(X, Y).predict_proba(X), atol=1e-3)


def test_an_error_of_a_worker_process_is_one_sentence_and_not_its_traceback() -> None:
    with pytest.raises(InputError, match=r"^Item 40 of the Dataset is a dict with the keys 'x'\. "):
        small(num_workers=1).fit(DictLater(X), Y)


def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent() -> None:
    stop, inside = threading.Event(), threading.Event()

    def hold() -> None:
        with seeded(7, CPU):
            inside.set()
            stop.wait()

    other = threading.Thread(target=hold)
    other.start()
    inside.wait()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns about forks of processes with threads
            child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends a child that waits
            with seeded(7, CPU):
                os._exit(0)
        assert os.waitpid(child, 0) == (child, 0)
    finally:
        stop.set()
        other.join()
