"""Behaviours for data collection, without rewards: together, their episodes cover the world.

An episode's behaviour is a function of its seed; all episodes of a batch act at once.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from vjepa.data.randomness import Purpose, generator_for
from vjepa.envs.world import Suite, Tasks, World


@runtime_checkable
class Behaviour(Protocol):
    """Actions for each raw step of a batch of episodes.

    The command line accepts classes whose methods have exactly these annotations: `act` returns (B, A) as an array.
    """

    def begin(self, suite: Suite, tasks: Tasks, steps: int) -> None: ...

    def act(self, world: World) -> np.ndarray: ...


@dataclass
class RandomWalk:
    """Slowly changing actions, in any world: each of their numbers follows a bounded random walk.

    Args:
        correlation: between one action and the next.
    """

    correlation: float = 0.9

    def begin(self, suite: Suite, tasks: Tasks, steps: int) -> None:
        shape = (steps, suite.action_dim)
        noise = np.stack([generator_for(int(s), Purpose.BEHAVIOUR).standard_normal(shape) for s in tasks.seeds], axis=1)
        actions, innovation = noise.copy(), (1 - self.correlation**2) ** 0.5
        for step in range(1, steps):
            actions[step] = self.correlation * actions[step - 1] + innovation * noise[step]
        self._actions = iter(suite.action_limit.bounded_array(suite.action_limit.size * actions))

    def act(self, world: World) -> np.ndarray:
        return next(self._actions)


@dataclass
class Wander:
    """Wandering about Two Rooms, in one of three ways per episode.

    *Walk*: a direction that turns a little at each step (PLDM's data). *Door*: the same, but from time to time the
    agent goes through the door to the other room. *Target*: straight to random targets, so that the agent hits walls
    from all sides and slides along them, as a planner's actions do.

    Args:
        door_probability, target_probability: of these ways; other episodes walk.
        turn: standard deviation of the change of direction per step, in radians.
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
        draws = [self._draw(generator_for(int(seed), Purpose.BEHAVIOUR), steps) for seed in tasks.seeds]
        self._kind, self._normal, self._uniform = (np.stack(part) for part in zip(*draws, strict=True))
        self._step = 0
        first = self._uniform[:, 0]
        self._direction, self._speed = first[:, 0] * 2 * np.pi, first[:, 1] * self._limit
        self._target = _target_positions(first[:, 2:4])
        self._room = np.sign(tasks.starts[:, 0] - tasks.layouts[:, 0])  # from which an agent leaves through the door

    def _draw(self, generator: np.random.Generator, steps: int) -> tuple[int, np.ndarray, np.ndarray]:
        kind = int(generator.choice(3, p=self._probabilities))
        return kind, generator.standard_normal(steps), generator.random((steps, 8))

    def act(self, world: World) -> np.ndarray:
        positions, normal, uniform = world.states, self._normal[:, self._step], self._uniform[:, self._step]
        self._step += 1
        turned = self._direction + self.turn * normal
        self._direction = np.where(uniform[:, 0] < 0.03, uniform[:, 1] * 2 * np.pi, turned)
        new_speed = np.where(uniform[:, 2] < 0.4, self._limit, uniform[:, 3] * self._limit)
        self._speed = np.where(uniform[:, 4] < 0.05, new_speed, self._speed)
        to_target = self._to_target(positions, uniform)
        to_door = self._to_door(positions)
        has_target, leaves = self._kind == 2, (self._kind == 1) & self._is_leaving(positions, uniform[:, 5])
        direction = np.where(has_target, np.arctan2(to_target[:, 1], to_target[:, 0]) + 0.2 * normal, self._direction)
        direction = np.where(leaves, np.arctan2(to_door[:, 1], to_door[:, 0]) + 0.4 * normal, direction)
        distance = np.linalg.norm(to_target, axis=1)
        speed = np.where(has_target, np.minimum(self._speed, distance + 0.3), self._speed)
        return np.stack((np.cos(direction), np.sin(direction)), axis=1) * speed[:, None]

    def _to_target(
        self, positions: Float[np.ndarray, "B 2"], uniform: Float[np.ndarray, "B 8"]
    ) -> Float[np.ndarray, "B 2"]:
        is_done = (np.linalg.norm(self._target - positions, axis=1) < 1.5) | (uniform[:, 4] > 0.975)
        self._target = np.where(is_done[:, None], _target_positions(uniform[:, 6:8]), self._target)
        return self._target - positions

    def _is_leaving(
        self, positions: Float[np.ndarray, "B 2"], uniform: Float[np.ndarray, " B"]
    ) -> Bool[np.ndarray, " B"]:
        """An agent that has changed rooms wanders for about 50 steps, and then goes back."""
        has_left = np.sign(positions[:, 0] - self._layouts[:, 0]) != self._room
        self._room = np.where(has_left & (uniform < 0.02), -self._room, self._room)
        return ~has_left

    def _to_door(self, positions: Float[np.ndarray, "B 2"]) -> Float[np.ndarray, "B 2"]:
        """To a position in front of the door; from there to one behind it."""
        to_door = self._layouts - positions
        is_in_front = np.abs(to_door[:, 1]) < 2.5
        offset = np.where(is_in_front, -8.0, 7.0 * (np.abs(to_door[:, 0]) > 5))
        return np.stack((to_door[:, 0] + self._room * offset, to_door[:, 1]), axis=1)


def _target_positions(uniform: Float[np.ndarray, "B 2"]) -> Float[np.ndarray, "B 2"]:
    return 5 + 54 * uniform
