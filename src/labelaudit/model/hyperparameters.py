"""The hyper-parameters of a training, each declared once. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelaudit.errors import ConfigError
from labelaudit.model.aliases import Kwargs
from labelaudit.model.schedules import Schedule, resolve_schedule

if TYPE_CHECKING:
    from labelaudit.model.optimizers import Optimizer


# No field has a default. A field that one of the builders does not set is an error that mypy reports.
@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """The settings that `TorchClassifier` and `Recipe` share, under the same names.

    Attributes:
        epochs: Passes over the training rows.
        batch_size: Largest number of rows in a batch.
        learning_rate: The peak of the schedule.
        optimizer: "adamw", "sgd", "muon", or a class or function that builds an optimizer.
        optimizer_kwargs: Arguments of the optimizer, such as `weight_decay`.
        schedule: A name in `schedules.SCHEDULES`, or a function from progress in 0..1 to a share of the peak rate.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        crop_padding: Largest random shift of an image in training, in pixels. 0 turns shifts off.
        flip: Whether half of the images are mirrored in training.
        average_share: Share of all steps over which weights are averaged, in [0, 1). 0 turns averaging off.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str | Callable[..., Optimizer]
    optimizer_kwargs: Kwargs
    schedule: str | Schedule
    label_smoothing: float
    crop_padding: int
    flip: bool
    average_share: float

    def __post_init__(self) -> None:
        check_positive(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)
        for name, share in (("label_smoothing", self.label_smoothing), ("average_share", self.average_share)):
            if not 0 <= share < 1:
                raise ConfigError(f"The setting {name} is {share}. Set it to a value from 0 to less than 1.")
        resolve_schedule(self.schedule)

    def learning_rate_at(self, progress: float) -> float:
        """Return the learning rate at `progress`, in 0..1 of all steps."""
        return self.learning_rate * resolve_schedule(self.schedule)(progress)


def check_positive(**settings: float | None) -> None:
    """Check that each setting is positive or None.

    Raises:
        ConfigError: A setting is zero, negative or NaN.
    """
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise ConfigError(f"The setting {name} is {value}. Set it to a positive number.")
