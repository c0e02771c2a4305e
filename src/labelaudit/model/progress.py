"""Everything that changes while a module trains, so that a training can resume after any epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import nn

from labelaudit.errors import StorageError
from labelaudit.model.aliases import State
from labelaudit.model.optimizers import Optimizer
from labelaudit.model.training_dynamics import TrainingDynamics


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows.

    Attributes:
        epoch: Number of the epoch, from 1 to at most `epochs`.
        epochs: Planned number of epochs.
        loss: Mean over the training rows.
        learning_rate: Learning rate of the last step.
        seconds: Duration of the epoch.
        validation_loss: Mean over the rows held out for early stopping; None without early stopping.
        validation_accuracy: Accuracy on these rows; None without early stopping.
    """

    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    seconds: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


class WeightAverage:
    """Exponential moving average of a module's weights and buffers. The first steps have equal weights."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._current = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
        self._mean = [t.detach().clone() for t in self._current]
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        self._steps += 1
        # Equal weights for the first steps, so that the initial weights soon have little influence.
        share = max(1 - self._decay, 1 / (self._steps + 1))
        torch._foreach_lerp_(self._mean, self._current, share)

    @torch.no_grad()
    def copy_to_module(self) -> None:
        for mean, current in zip(self._mean, self._current, strict=True):
            current.copy_(mean)

    def state(self) -> State:
        return {"mean": self._mean, "steps": self._steps}

    def restore(self, state: State) -> None:
        torch._foreach_copy_(self._mean, state["mean"])
        self._steps = state["steps"]


class BestWeights:
    """The weights of the epoch with the lowest validation loss."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._loss = math.inf
        self._epoch = 0
        self._weights: State | None = None

    def update(self, loss: float | None, epoch: int) -> int:
        """Keep the weights of this epoch if it is the best so far. Return the number of epochs since the best one."""
        if loss is not None and loss < self._loss:
            self._loss, self._epoch = loss, epoch
            self._weights = copy.deepcopy(self._module.state_dict())
        return epoch - self._epoch

    def copy_to_module(self) -> None:
        if self._weights is not None:
            self._module.load_state_dict(self._weights)

    def state(self) -> State:
        return {"loss": self._loss, "epoch": self._epoch, "weights": self._weights}

    def restore(self, state: State) -> None:
        self._loss, self._epoch = state["loss"], state["epoch"]
        if state["weights"] is not None:
            # The module's own state dict also contains versions of layers, so its copy is updated.
            self._weights = copy.deepcopy(self._module.state_dict())
            self._weights.update(state["weights"])


class Progress:
    """The state of one training: module, optimizer, averages, dynamics, epochs, order of rows and random numbers.

    `state` returns a tree for `packing.pack`. `restore` loads it into a training that started in the same way. Random
    numbers are those of `generator` and torch's global ones, of the CPU and of `device`. What a module keeps outside
    its parameters, buffers and extra state is not included.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        *,
        generator: torch.Generator,
        device: torch.device,
        average: WeightAverage | None,
        dynamics: TrainingDynamics | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.device = device
        self.average = average
        self.dynamics = dynamics
        self.best = BestWeights(module)
        self.history: list[Epoch] = []
        self.has_ended = False
        self._module = module
        self._generator = generator

    def remaining(self, epochs: int) -> range:
        """Return the numbers, from 0, of the epochs that are left."""
        return range(epochs if self.has_ended else len(self.history), epochs)

    def state(self) -> State:
        # Without dynamics there is no entry, so that checkpoints of earlier releases stay valid.
        dynamics = {} if self.dynamics is None else {"dynamics": self.dynamics.state()}
        return {
            **dynamics,
            "tensors": _tensors(self._module),
            "extra": {name: layer.get_extra_state() for name, layer in _with_extra_state(self._module)},
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "best": self.best.state(),
            "history": [asdict(epoch) for epoch in self.history],
            "has_ended": self.has_ended,
            "order": self._generator.get_state(),
            "random": torch.get_rng_state(),
            "random_of_device": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def restore(self, state: State) -> None:
        """Load a state that `state` returned.

        Raises:
            StorageError: The module has other parameters or buffers. Nothing was changed.
        """
        _check_shapes(state["tensors"], _tensors(self._module))
        with torch.no_grad():
            for name, tensor in _tensors(self._module).items():
                tensor.copy_(state["tensors"][name])
        for name, layer in _with_extra_state(self._module):
            layer.set_extra_state(state["extra"][name])
        _load_optimizer(self.optimizer, state["optimizer"])
        if self.average is not None:
            self.average.restore(state["average"])
        if self.dynamics is not None:
            self.dynamics.restore(state["dynamics"])
        self.best.restore(state["best"])
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self.has_ended = state["has_ended"]
        self._generator.set_state(state["order"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_of_device"], self.device)


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, including those that `state_dict` omits. Tied ones occur once."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def _load_optimizer(optimizer: Optimizer, state: State) -> None:
    optimizer.load_state_dict(state)
    if not isinstance(optimizer, torch.optim.Optimizer):
        return
    # torch converts all numbers to the dtype and device of the parameter, which rounds some of them.
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in state["state"].items():
        if number in range(len(parameters)):
            optimizer.state[parameters[number]] = values


def _check_shapes(saved: Mapping[str, torch.Tensor], current: Mapping[str, torch.Tensor]) -> None:
    shapes, expected = ({name: tensor.shape for name, tensor in tensors.items()} for tensors in (saved, current))
    for name in shapes.keys() | expected.keys():
        if shapes.get(name) != expected.get(name):
            raise StorageError(
                f"The module's {name} has shape {shapes.get(name)} in the checkpoint and {expected.get(name)} now. "
                "A module that changes its parameters or buffers cannot resume."
            )


def _with_extra_state(module: nn.Module) -> list[tuple[str, nn.Module]]:
    plain = nn.Module.get_extra_state
    return [(name, layer) for name, layer in module.named_modules() if type(layer).get_extra_state is not plain]
