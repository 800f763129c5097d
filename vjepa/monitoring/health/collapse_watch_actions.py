"""Actions on a collapsed run: end it, or rewind it to a healthy state with a lower learning rate."""

import copy
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from vjepa.training import Schedule
from vjepa.training.clip_model import ClipModel

Action = Literal["warn", "stop", "rewind"]


class CollapsedRunError(RuntimeError):
    """Ends a run whose embeddings have collapsed; `vjepa` prints one sentence and exits with code 3."""


class GoodState(NamedTuple):
    """Weights and optimizer state of a step, in main memory."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]


class GoodStates:
    """The last two healthy states. A rewind goes to the older: at the newer one the collapse may have begun."""

    def __init__(self) -> None:
        self._states: deque[GoodState] = deque(maxlen=2)

    def __len__(self) -> int:
        return len(self._states)

    def keep(self, trainer: Trainer, module: ClipModel) -> None:
        self._states.append(
            GoodState(
                trainer.global_step,
                {name: tensor.to("cpu", copy=True) for name, tensor in _changing_weights(module).items()},
                _copied(trainer.optimizers[0].state_dict()),
            )
        )

    @torch.no_grad()
    def bring_back(self, trainer: Trainer, module: ClipModel) -> int:
        """Restore weights and optimizer, and return their step. Steps, schedules and clips continue."""
        state = self._states[0]
        for name, tensor in _changing_weights(module).items():
            tensor.copy_(state.weights[name])
        trainer.optimizers[0].load_state_dict(copy.deepcopy(state.optimizer))
        self._states = deque([state], maxlen=2)
        return state.step


def require_whole_weights(trainer: Trainer) -> None:
    """Raises ValueError where a rank has only a part of the weights."""
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        raise ValueError(
            f"action 'rewind' of the collapse monitor keeps whole weights on each rank, which "
            f"{type(trainer.strategy).__name__} does not; give action: stop"
        )


def scaled_schedule(schedule: Schedule, factor: float) -> Schedule:
    """The schedule with all values multiplied by a factor."""
    start, end = (None if value is None else value * factor for value in (schedule.start, schedule.end))
    return replace(schedule, peak=schedule.peak * factor, start=start, end=end)


def _changing_weights(module: ClipModel) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in module.state_dict().items() if not name.startswith("targets.")}


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(inside) for inside in value)
    return value
