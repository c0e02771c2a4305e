"""Training dynamics: against the definition, whatever the size of batches and buffers, and in the estimator."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from torch.nn import functional

from labelaudit import TorchClassifier
from labelaudit.model import training_dynamics
from labelaudit.model.training_dynamics import TrainingDynamics
from labelaudit.row_dynamics import Dynamics
from support.toys import CPU, RowDataset, X, Y, own, same_weights, small


def by_definition(scores: torch.Tensor, targets: torch.Tensor) -> Dynamics:
    """Return the dynamics of scores (epochs, rows, K)."""
    epochs, rows, _ = scores.shape
    each = torch.arange(rows)
    given = scores[:, each, targets]
    others = scores.clone()
    others[:, each, targets] = -torch.inf
    margins = given - others.amax(2)
    p_given = scores.softmax(2)[:, each, targets]
    learned = (margins > 0).numpy()
    first = np.where(learned.any(0), learned.argmax(0), epochs) / epochs
    return Dynamics(margins.mean(0).numpy(), p_given.mean(0).numpy(), p_given.std(0, unbiased=False).numpy(), first)


def assert_close(found: Dynamics, expected: Dynamics, atol: float = 1e-5) -> None:
    for name, values in expected.columns().items():
        np.testing.assert_allclose(found.columns()[name], values, atol=atol, err_msg=name)


@given(
    seed=st.integers(0, 2**16),
    epochs=st.integers(1, 5),
    rows=st.integers(1, 30),
    classes=st.integers(2, 5),
    batch=st.integers(1, 12),
    buffered=st.integers(1, 60),
)
def test_any_batches_and_buffers_give_the_definition(
    seed: int, epochs: int, rows: int, classes: int, batch: int, buffered: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(epochs, rows, classes, generator=generator)
    targets = torch.randint(classes, (rows,), generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training_dynamics._WAITING_NUMBERS, "cpu", buffered)
        dynamics = TrainingDynamics(rows, classes, CPU)
    for epoch in range(epochs):
        order = torch.randperm(rows, generator=generator)
        dynamics.begin_epoch(epoch + 1, order, targets[order])
        for part in scores[epoch][order].split(batch):
            before = part.clone()
            dynamics.add_batch(part)
            assert torch.equal(part, before)
        dynamics.end_epoch()
    assert_close(dynamics.result(), by_definition(scores, targets))


def test_by_hand() -> None:
    dynamics = TrainingDynamics(3, 2, CPU)
    targets = torch.tensor([0, 1, 1])
    # Row 0 is learned at once, row 1 in the second epoch, row 2 never.
    for epoch, scores in enumerate([[[2.0, 0.0], [1.0, 0.0], [3.0, 1.0]], [[4.0, 0.0], [0.0, 3.0], [1.0, 0.0]]]):
        dynamics.begin_epoch(epoch + 1, torch.arange(3), targets)
        dynamics.add_batch(torch.tensor(scores))
        dynamics.end_epoch()
    found = dynamics.result()
    np.testing.assert_allclose(found.margin, [3.0, 1.0, -1.5])
    np.testing.assert_allclose(found.epochs, [0.0, 0.5, 1.0])
    first, second = 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(-4.0))
    assert found.p_given[0] == pytest.approx((first + second) / 2)
    assert found.spread[0] == pytest.approx((second - first) / 2, abs=1e-6)


def test_probabilities_that_hardly_change_have_no_spread() -> None:
    dynamics = TrainingDynamics(1, 2, CPU)
    for epoch in range(200):
        dynamics.begin_epoch(epoch + 1, torch.tensor([0]), torch.tensor([0]))
        dynamics.add_batch(torch.tensor([[12.0, 0.0]]))
        dynamics.end_epoch()
    assert dynamics.result().spread[0] < 1e-7


def test_a_row_takes_16_bytes() -> None:
    assert sum(values.nbytes for values in TrainingDynamics(10, 3, CPU).result().columns().values()) == 160
    assert TrainingDynamics(10, 3, CPU).state()["sums"].nbytes == 160


class Outputs(torch.nn.Module):
    """Records the outputs of training."""

    def __init__(self, num_classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.head = torch.nn.Linear(input_shape[0], num_classes)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.head(x)
        if self.training:
            self.seen.append((x, outputs.detach()))
        return outputs


def test_the_estimator_records_the_outputs_of_the_training_itself() -> None:
    fitted = own(Outputs, record_dynamics=True).fit(X, Y)
    per_epoch = -(-len(X) // 32)
    assert len(fitted.module_.seen) == 5 * per_epoch, "no forward pass besides those of the training"
    position = {row.tobytes(): number for number, row in enumerate(X)}
    scores = torch.empty(5, len(X), 3)
    for number, (batch, outputs) in enumerate(fitted.module_.seen):
        scores[number // per_epoch, [position[row.numpy().tobytes()] for row in batch]] = outputs
    assert_close(fitted.dynamics_, by_definition(scores, torch.from_numpy(Y)))


@pytest.mark.parametrize("changes", [{}, {"label_smoothing": 0.2, "average_share": 0.5, "module__dropout": 0.3}])
def test_recording_changes_nothing_else(changes: dict[str, Any]) -> None:
    plain, recorded = (small(record_dynamics=recorded, **changes).fit(X, Y) for recorded in (False, True))
    assert same_weights(plain, recorded)
    assert not hasattr(plain, "dynamics_")
    assert len(recorded.dynamics_) == len(X)


def test_rows_keep_their_order_however_they_are_given() -> None:
    expected = small(record_dynamics=True).fit(X, Y).dynamics_
    rows = np.arange(len(X))
    for classifier, data in ((small(dataset=X), rows), (small(), RowDataset(X)), (small(dataset=RowDataset(X)), rows)):
        assert_close(classifier.set_params(record_dynamics=True).fit(data, Y).dynamics_, expected)
    again = small(dataset=np.concatenate([X, X]), record_dynamics=True).fit(rows + len(X), Y)
    assert_close(again.dynamics_, expected)


@pytest.mark.parametrize("kind", ["log_probabilities", "probabilities"])
def test_other_outputs_have_the_same_dynamics(kind: str) -> None:
    class Normalised(Outputs):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logs = functional.log_softmax(self.head(x), 1)
            return logs if kind == "log_probabilities" else logs.exp()

    expected = own(Outputs, record_dynamics=True).fit(X, Y).dynamics_
    assert_close(own(Normalised, output_kind=kind, record_dynamics=True).fit(X, Y).dynamics_, expected, atol=1e-3)


def test_rows_that_early_stopping_holds_out_have_none() -> None:
    found = small(record_dynamics=True, early_stopping=True, validation_fraction=0.25).fit(X, Y).dynamics_
    for values in found.columns().values():
        assert np.isnan(values).sum() == 30
        np.testing.assert_array_equal(np.isnan(values), np.isnan(found.margin))


def test_training_that_ends_early_counts_the_epochs_that_took_place() -> None:
    stopped = small(record_dynamics=True, schedule="constant", callbacks=[lambda epoch, module: epoch.epoch == 2])
    shorter = small(record_dynamics=True, schedule="constant", epochs=2)
    assert_close(stopped.fit(X, Y).dynamics_, shorter.fit(X, Y).dynamics_)


def test_one_more_epoch_has_none() -> None:
    classifier = small(record_dynamics=True).fit(X, Y)
    assert not hasattr(classifier.partial_fit(X, Y), "dynamics_")


def test_copies_and_pickles_keep_them_and_clones_do_not() -> None:
    classifier = small(record_dynamics=True).fit(X, Y)
    assert_close(pickle.loads(pickle.dumps(classifier)).dynamics_, classifier.dynamics_)
    assert not hasattr(clone(classifier), "dynamics_")
    assert clone(classifier).record_dynamics is True


def test_a_wrong_label_is_learned_late_and_with_a_small_margin() -> None:
    rng = np.random.default_rng(0)
    right = rng.integers(0, 2, 300)
    data = (rng.standard_normal((300, 4)) + 4 * right[:, None]).astype(np.float32)
    wrong = np.arange(300) % 20 == 0
    found = TorchClassifier(epochs=10, device="cpu", record_dynamics=True).fit(data, right ^ wrong).dynamics_
    assert found.margin[wrong].max() < np.median(found.margin[~wrong])
    assert found.p_given[wrong].mean() < 0.5 < found.p_given[~wrong].mean()
    assert found.epochs[wrong].mean() > found.epochs[~wrong].mean()


def test_sums_are_restored() -> None:
    first, second = TrainingDynamics(3, 2, CPU), TrainingDynamics(3, 2, CPU)
    first.begin_epoch(1, torch.arange(3), torch.tensor([0, 1, 0]))
    first.add_batch(torch.randn(3, 2))
    first.end_epoch()
    second.restore(first.state())
    assert_close(second.result(), first.result(), atol=0)
