"""What agents do while data is collected: nobody rewards them, and between them they go everywhere.

An episode's behaviour is a function of its seed; all episodes of a batch act at once.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from vjepa.data.randomness import Purpose, generator_for
from vjepa.envs.world import Suite, Tasks, World


@runtime_checkable
class Behaviour(Protocol):
    """Actions for each raw step of a batch of episodes."""

    def begin(self, suite: Suite, tasks: Tasks, steps: int) -> None: ...

    def act(self, world: World) -> np.ndarray: ...  # (B, A)


@dataclass
class RandomWalk:
    """Actions that change slowly, in any world: each number of them follows a bounded random walk of its own.

    Args:
        correlation: between one action and the next.
    """

    correlation: float = 0.9

    def begin(self, suite: Suite, tasks: Tasks, steps: int) -> None:
        shape = (steps, suite.action_dim)
        noise = np.stack([generator_for(int(s), Purpose.BEHAVIOUR).standard_normal(shape) for s in tasks.seeds], axis=1)
        actions, fresh = noise.copy(), (1 - self.correlation**2) ** 0.5
        for step in range(1, steps):
            actions[step] = self.correlation * actions[step - 1] + fresh * noise[step]
        self._actions = suite.action_limit.bounded_array(suite.action_limit.size * actions)
        self._step = 0

    def act(self, world: World) -> np.ndarray:  # (B, A)
        self._step += 1
        return self._actions[self._step - 1]


@dataclass
class Wander:
    """Wandering about Two Rooms, in three ways that episodes are shared out over.

    *Walk*: a direction that turns a little at each step (PLDM's data). *Door*: the same, but from time to time the
    agent goes through the door to the other room. *Errand*: straight on to places anywhere, so that walls are run into
    and pushed against from all sides, as whoever plans will try to.

    Args:
        door_probability, target_probability: of the episodes; the others walk.
        turn: standard deviation of the direction's change at each step, in radians.
    """

    door_probability: float = 0.35
    target_probability: float = 0.35
    turn: float = 0.3

    def __post_init__(self) -> None:
        if min(self._probabilities) < 0:
            raise ValueError(
                f"door_probability ({self.door_probability}) and target_probability ({self.target_probability}) must "
                "not be negative, nor sum to more than 1"
            )

    @property
    def _probabilities(self) -> list[float]:
        return [1 - self.door_probability - self.target_probability, self.door_probability, self.target_probability]

    def begin(self, suite: Suite, tasks: Tasks, steps: int) -> None:
        if tasks.layouts.shape[1] != 2:
            raise ValueError(f"wandering needs rooms with a door; {suite.name} has none: take RandomWalk")
        self._layouts, self._limit = tasks.layouts, suite.action_limit.size
        draws = [self._draws(generator_for(int(seed), Purpose.BEHAVIOUR), steps) for seed in tasks.seeds]
        self._kind, self._normal, self._uniform = (np.stack(part) for part in zip(*draws, strict=True))
        self._step = 0
        first = self._uniform[:, 0]
        self._direction, self._speed = first[:, 0] * 2 * np.pi, first[:, 1] * self._limit
        self._target = _anywhere(first[:, 2:4])
        self._room = np.sign(tasks.starts[:, 0] - tasks.layouts[:, 0])  # where an agent on its way to the door is

    def _draws(self, generator: np.random.Generator, steps: int) -> tuple[int, np.ndarray, np.ndarray]:
        kind = int(generator.choice(3, p=self._probabilities))
        return kind, generator.standard_normal(steps), generator.random((steps, 8))

    def act(self, world: World) -> np.ndarray:  # (B, 2)
        places, normal, uniform = world.states, self._normal[:, self._step], self._uniform[:, self._step]
        self._step += 1
        turned = np.where(uniform[:, 0] < 0.03, uniform[:, 1] * 2 * np.pi, self._direction + self.turn * normal)
        faster = np.where(uniform[:, 2] < 0.4, self._limit, uniform[:, 3] * self._limit)
        self._speed = np.where(uniform[:, 4] < 0.05, faster, self._speed)
        self._direction = turned
        on_errand, through_door = self._kind == 2, (self._kind == 1) & self._is_leaving(places, uniform[:, 5])
        to_target = self._errand(places, uniform)
        to_door = self._way_to_door(places)
        direction = np.where(on_errand, np.arctan2(to_target[:, 1], to_target[:, 0]) + 0.2 * normal, self._direction)
        direction = np.where(through_door, np.arctan2(to_door[:, 1], to_door[:, 0]) + 0.4 * normal, direction)
        left = np.linalg.norm(to_target, axis=1)
        speed = np.where(on_errand, np.minimum(self._speed, left + 0.3), self._speed)
        return np.stack((np.cos(direction), np.sin(direction)), axis=1) * speed[:, None]

    def _errand(self, places: np.ndarray, uniform: np.ndarray) -> np.ndarray:  # (B, 2)
        done = (np.linalg.norm(self._target - places, axis=1) < 1.5) | (uniform[:, 4] > 0.975)
        self._target = np.where(done[:, None], _anywhere(uniform[:, 6:8]), self._target)
        return self._target - places

    def _is_leaving(self, places: np.ndarray, chance: np.ndarray) -> np.ndarray:  # (B,) bool
        """Whoever has come through wanders for about 50 steps, and then goes back."""
        there = np.sign(places[:, 0] - self._layouts[:, 0]) != self._room
        self._room = np.where(there & (chance < 0.02), -self._room, self._room)
        return ~there

    def _way_to_door(self, places: np.ndarray) -> np.ndarray:  # (B, 2)
        """To a place before the door; from there to one behind it."""
        to_door = self._layouts - places
        is_before = np.abs(to_door[:, 1]) < 2.5
        aside = np.where(is_before, -8.0, 7.0 * (np.abs(to_door[:, 0]) > 5))
        return np.stack((to_door[:, 0] + self._room * aside, to_door[:, 1]), axis=1)


def _anywhere(uniform: np.ndarray) -> np.ndarray:  # (B, 2) shares to places
    return 5 + 54 * uniform
