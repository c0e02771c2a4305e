"""TorchClassifier: every parameter counts, modules are checked, callbacks and reports of epochs."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from torch import nn

from labelaudit.errors import ConfigError, TrainingError
from labelaudit.model.networks import MLP, Ngrams, SmallResNet
from labelaudit.model.schedules import cosine
from support.toys import WHOLE, Normed, X, Y, own, same_weights, small, weights


@pytest.mark.parametrize(
    "changes",
    [
        {"module": Ngrams},
        {"module__hidden": (9,)},
        {"module__dropout": 0.5},
        {"optimizer": "sgd"},
        {"optimizer": "muon"},
        {"optimizer": torch.optim.Adagrad},
        {"optimizer__weight_decay": 1.0},
        {"optimizer__betas": (0.5, 0.9)},
        {"learning_rate": 0.003},
        {"learning_rate_factors": {"layers.1.*": 0.1}},
        {"frozen": ("layers.1.weight",)},
        {"epochs": 6},
        {"batch_size": 16},
        {"schedule": "cosine"},
        {"schedule": "triangular"},
        {"schedule": "constant"},
        {"schedule": math.sqrt},
        {"class_weight": "balanced"},
        {"class_weight": {0: 3.0}},
        {"label_smoothing": 0.3},
        {"gradient_clip": 0.01},
        {"average_share": 0.5},
        {"early_stopping": True},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"precision": "bfloat16"},
        {"precision": "float64"},
        {"random_state": 1},
    ],
    ids=repr,
)
def test_every_parameter_changes_the_probabilities(changes: dict[str, Any]) -> None:
    data = sparse.csr_matrix(X)
    labels = np.minimum(Y, 1)
    classifier = small()
    if changes.get("module") is Ngrams:
        classifier = own(MLP)
    usual = classifier.fit(data, labels).predict_proba(data)
    changed = classifier.set_params(**changes).fit(data, labels).predict_proba(data)
    assert not np.array_equal(usual, changed)


def test_the_validation_fraction_changes_what_is_trained_on() -> None:
    usual, more = (small(early_stopping=True, validation_fraction=share).fit(X, Y) for share in (0.1, 0.4))
    assert not same_weights(usual, more)


def test_a_schedule_can_be_a_function() -> None:
    assert same_weights(small(schedule=cosine).fit(X, Y), small(schedule="cosine").fit(X, Y))


def test_a_schedule_is_called_for_each_step_from_0_to_1() -> None:
    asked: list[float] = []

    def note(progress: float) -> float:
        asked.append(progress)
        return 1.0

    small(schedule=note, epochs=2).fit(X, Y)
    assert asked == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]


def test_the_optimizer_can_be_a_class_with_arguments() -> None:
    named = small(optimizer="sgd", optimizer__weight_decay=0.01, epochs=1).fit(X, Y)
    given = small(
        optimizer=torch.optim.SGD,
        optimizer__weight_decay=0.01,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__fused=True,
        epochs=1,
    ).fit(X, Y)
    assert same_weights(named, given)


def test_a_small_gradient_clip_bounds_a_step_of_plain_descent() -> None:
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 1000, "schedule": "constant", "learning_rate": 1.0}
    start = nn.Linear(6, 3)
    moved = own(start, optimizer=torch.optim.SGD, gradient_clip=0.01, **settings).fit(X, Y).module_
    steps = [
        after.detach() - before.detach() for after, before in zip(moved.parameters(), start.parameters(), strict=True)
    ]
    norm = math.sqrt(sum(float((step**2).sum()) for step in steps))
    assert norm == pytest.approx(0.01, rel=1e-4)


def test_an_average_of_the_weights_is_not_the_last_of_them() -> None:
    last: list[torch.Tensor] = []
    classifier = small(
        average_share=0.5, callbacks=[lambda _, module: last.append(module.layers[1].weight.detach().clone())]
    ).fit(X, Y)
    assert not torch.equal(classifier.module_.layers[1].weight, last[-1])


def test_parameters_stay_in_float32_under_bfloat16_and_become_float64_on_demand() -> None:
    for precision, dtype in (("bfloat16", torch.float32), ("float64", torch.float64), ("float32", torch.float32)):
        classifier = small(precision=precision, epochs=1).fit(X, Y)
        assert {parameter.dtype for parameter in classifier.module_.parameters()} == {dtype}
        assert classifier.precision_ == precision


def test_a_compiled_module_trains_to_the_same_weights_with_the_eager_backend() -> None:
    compiled = small(compile={"backend": "eager"}, epochs=2).fit(X, Y)
    plain = small(epochs=2).fit(X, Y)
    assert same_weights(compiled, plain)
    np.testing.assert_array_equal(compiled.predict_proba(X), plain.predict_proba(X))


def test_a_compiled_module_can_stop_early() -> None:
    settings: dict[str, Any] = {"early_stopping": True, "epochs": 3, "module__hidden": (7,)}
    compiled = small(compile={"backend": "eager"}, **settings).fit(X, Y)
    assert same_weights(compiled, small(**settings).fit(X, Y))


def test_arguments_of_compile_reach_torch() -> None:
    with pytest.raises(Exception, match=r"no_such_backend"):
        small(compile={"backend": "no_such_backend"}).fit(X, Y)


def digit_images() -> tuple[np.ndarray, np.ndarray]:
    digits = load_digits()
    return (digits.images[:100, None] * 15).astype(np.uint8), digits.target[:100]


def test_cropping_and_flipping_change_training_and_prediction() -> None:
    images, labels = digit_images()
    classifier = own(SmallResNet, module__widths=(4, 8), epochs=1, precision="float32")
    results = [
        classifier.set_params(crop_padding=padding, flip=flip).fit(images, labels).predict_proba(images)
        for padding, flip in ((0, False), (1, False), (0, True))
    ]
    assert not np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    views = classifier.predict_proba(images)
    assert not np.array_equal(classifier.set_params(flip=False).predict_proba(images), views)


def test_images_in_memory_and_in_bfloat16_are_learned() -> None:
    images, labels = digit_images()
    classifier = own(SmallResNet, module__widths=(8, 16), epochs=12, batch_size=16, precision="bfloat16")
    assert classifier.fit(images, labels).score(images, labels) > 0.8


def test_a_module_gets_sizes_only_if_it_accepts_them() -> None:
    def sized(num_classes: int) -> nn.Module:
        return nn.Linear(6, num_classes)

    def any_size(**sizes: Any) -> nn.Module:
        return nn.Linear(sizes["input_shape"][0], sizes["num_classes"])

    class Inherits(nn.Linear):
        pass

    for module in (sized, any_size, partial(nn.Linear, 6, 3), partial(Inherits, 6, 3), lambda: nn.Linear(6, 3)):
        assert own(module).fit(X, Y).predict_proba(X).shape == (120, 3)


def test_sizes_given_as_arguments_win() -> None:
    def wide(num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        return nn.Linear(*input_shape, num_classes)

    with pytest.raises(TrainingError, match=r"returned outputs of shape \(8, 5\), but 3 classes need \(8, 3\)"):
        own(wide, module__num_classes=5).fit(X, Y)


def test_a_module_without_a_constructor_of_its_own_is_built_without_sizes() -> None:
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :3]

    with pytest.raises(ConfigError, match=r"The module has no parameter left to train\. Freeze fewer"):
        own(Constant).fit(X, Y)


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (dict, TrainingError, r"module returned a dict, not a torch.nn.Module"),
        (3, ConfigError, r"module 3 is a int\. Pass a torch.nn.Module, or a class or function"),
        (None, ConfigError, r"module None is a NoneType\. Pass a torch.nn.Module, or a class or function"),
        (
            partial(nn.Linear, 6, 2),
            TrainingError,
            r"of shape \(8, 2\), but 3 classes need \(8, 3\)\. Give its last",
        ),
        (
            partial(nn.Flatten, 0),
            TrainingError,
            r"returned a tensor of shape \(48,\) for a batch of 8, not one tensor of",
        ),
        (
            lambda: nn.LSTM(6, 3),
            TrainingError,
            r"returned a tuple of \(8, 3\), tuple for a batch of 8, not one tensor of",
        ),
    ],
)
def test_wrong_modules_are_refused(module: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        own(module).fit(X, Y)


def test_arguments_for_a_module_that_is_built_already_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"module is already a Linear, so module__bias would have no effect"):
        own(nn.Linear(6, 3), module__bias=False).fit(X, Y)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"schedule": "spiral"}, ConfigError, r"Schedule 'spiral' is unknown\. Use one_cycle, "),
        ({"optimizer": "adam"}, ConfigError, r"Optimizer 'adam' is unknown\. Use adamw, sgd, muon"),
        ({"optimizer__speed": 3}, ConfigError, r"Optimizer 'adamw' does not accept \{.*'speed': 3\}: "),
        ({"optimizer": torch.optim.LBFGS}, ConfigError, r"LBFGS.* computes the loss itself"),
        ({"output_kind": "scores"}, ConfigError, r"output_kind 'scores' is unknown\. Use logits or log_probabilities"),
        ({"device": "tpu"}, ConfigError, r"Device 'tpu' is unknown"),
        ({"device": "cuda:99"}, TrainingError, r"Device 'cuda:99' was requested"),
        ({"precision": "float16"}, ConfigError, r"Precision 'float16' is unknown"),
        ({"epochs": 0}, ConfigError, r"The setting epochs is 0\."),
        ({"batch_size": 0}, ConfigError, r"The setting batch_size is 0\."),
        ({"learning_rate": -1.0}, ConfigError, r"-1\.0"),
        ({"gradient_clip": 0.0}, ConfigError, r"The setting gradient_clip is 0\.0\."),
        (
            {"label_smoothing": 1.0},
            ConfigError,
            r"The setting label_smoothing is 1\.0\. Set it to a value from 0 to less than 1",
        ),
        (
            {"average_share": -0.1},
            ConfigError,
            r"The setting average_share is -0\.1\. Set it to a value from 0 to less than 1",
        ),
        (
            {"average_share": 0.5, "early_stopping": True},
            ConfigError,
            r"average_share averages the weights of the last steps, but early stopping does not know",
        ),
        (
            {"early_stopping": True, "validation_fraction": 1.0},
            ConfigError,
            r"validation_fraction is 1\.0\. Set it to a value between 0 and 1",
        ),
        (
            {"frozen": ("body.*",)},
            ConfigError,
            r"Pattern 'body\.\*' in frozen matches no parameter .* Use names such as layers\.1\.weight",
        ),
        (
            {"learning_rate_factors": {"x": 1.0}},
            ConfigError,
            r"Pattern 'x' in learning_rate_factors matches no parameter",
        ),
        ({"frozen": ("*",)}, ConfigError, r"The module has no parameter left to train"),
        ({"class_weight": "even"}, ConfigError, r"class_weight 'even' is unknown\. Use 'balanced', a dict or None"),
        ({"class_weight": {7: 1.0}}, ConfigError, r"class_weight has 7, which is not among the classes \[0, 1, 2\]"),
        ({"learning_rate": 1e30}, TrainingError, r"The loss is not finite \(epoch \d, batch \d, learning rate "),
    ],
    ids=repr,
)
def test_wrong_settings_are_errors_of_fit_not_of_construction(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    classifier = small(**changes)
    with pytest.raises(error, match=message):
        classifier.fit(X, Y)


def test_an_error_about_patience_names_the_parameter() -> None:
    with pytest.raises(ConfigError, match=r"The setting n_iter_no_change is 0\."):
        small(early_stopping=True, n_iter_no_change=0).fit(X, Y)


def test_an_unknown_parameter_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        TypeError, match=r"TorchClassifier has no parameter 'epoch'\. Use one of .*epochs, .*optimizer__"
    ):
        own(MLP, epoch=3)
    with pytest.raises(ValueError, match=r"Invalid parameter 'epoch' for estimator TorchClassifier"):
        small().set_params(epoch=3)


def test_nested_arguments_are_parameters_like_any_other() -> None:
    classifier = small(optimizer__weight_decay=0.5)
    assert classifier.get_params()["module__hidden"] == (8,)
    assert classifier.get_params()["optimizer__weight_decay"] == 0.5
    assert classifier.set_params(module__hidden=(3,), epochs=1) is classifier
    assert classifier.get_params()["module__hidden"] == (3,)
    assert weights(classifier.fit(X, Y))["layers.1.weight"].shape == (3, 6)
    assert "module__hidden=(3,)" in repr(classifier)


def test_nested_arguments_of_one_classifier_are_not_those_of_another() -> None:
    first = own(MLP)
    first.set_params(module__hidden=(2,))
    assert "module__hidden" not in own(MLP).get_params()


def test_a_classifier_that_was_not_fitted_says_so() -> None:
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform"):
        with pytest.raises(NotFittedError, match=r"not fitted yet"):
            getattr(small(), method)(X)
    with pytest.raises(NotFittedError, match=r"not fitted yet"):
        small().save("nowhere")


def test_a_dense_network_with_normalisation_learns() -> None:
    assert own(Normed, epochs=60, batch_size=16).fit(X, Y).score(X, Y) > 0.75


@pytest.mark.parametrize(("rows", "batch_size"), [(65, 2), (3, 2), (2, 2), (65, 64)])
def test_normalisation_never_gets_a_batch_of_one_row(rows: int, batch_size: int) -> None:
    classifier = own(Normed, batch_size=batch_size, epochs=1)
    assert classifier.partial_fit(X[:rows], Y[:rows], classes=[0, 1, 2]).n_iter_ == 1


@pytest.mark.parametrize(("rows", "batch_size"), [(1, 2), (1, 64), (3, 1)])
def test_normalisation_of_one_row_is_refused(rows: int, batch_size: int) -> None:
    with pytest.raises(
        TrainingError, match=r"cannot be trained on a batch of one row, .*batch normalisation .* Set batch_size to at"
    ):
        own(Normed, batch_size=batch_size).partial_fit(X[:rows], Y[:rows], classes=[0, 1, 2])


def test_plain_networks_are_trained_row_by_row_if_asked() -> None:
    assert small(batch_size=1, epochs=1).fit(X[:9], Y[:9]).n_iter_ == 1


def test_integers_of_a_table_are_numbers_for_a_dense_network() -> None:
    assert same_weights(small().fit(WHOLE, Y), small().fit(WHOLE.astype(np.float32), Y))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_repeats_itself() -> None:
    images, labels = digit_images()
    classifier = own(SmallResNet, device="cuda", crop_padding=1)
    first = classifier.fit(images, labels).predict_proba(images)
    np.testing.assert_array_equal(classifier.fit(images, labels).predict_proba(images), first)
