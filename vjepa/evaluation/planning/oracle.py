"""An oracle: the same planner with the world's own dynamics and true states. Its failures are the planner's."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.envs.two_rooms import TwoRooms
from vjepa.envs.two_rooms_collision import moved
from vjepa.envs.world import Suite, Tasks, World
from vjepa.evaluation.planning.model_policy import PlanningPolicy
from vjepa.planning.cost import squared_difference
from vjepa.planning.planner import Problem


class OraclePolicy(PlanningPolicy):
    """Plans by simulation. The cost of a path is the squared distances to the goal along it, in the suite's unit.

    In Two Rooms these are distances by way of the door: with straight distances the wall itself would be the nearest
    position to many goals (70 % of episodes).
    """

    def problems(self, world: World) -> list[Problem]:
        states = world.states
        return [self._problem(episode, states) for episode in range(len(states))]

    def _problem(self, episode: int, states: np.ndarray) -> Problem:
        suite, task = self.suite, self.tasks.rows(slice(episode, episode + 1))
        state = states[episode]

        def distances_along(actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S H 1 1"]:
            copies = task.rows(np.zeros(len(actions), int))._replace(starts=np.tile(state, (len(actions), 1)))
            visited = simulated(suite, copies, actions.double().numpy(), self.frame_step)
            length = suite.route_lengths if isinstance(suite, TwoRooms) else suite.distances
            along = [length(copies, visited[:, step]) for step in range(visited.shape[1])]
            return torch.from_numpy(np.stack(along, axis=1)).float()[..., None, None]

        cost = self.cost(distances_along, squared_difference(torch.zeros(1, 1)))
        present, goal = (torch.from_numpy(part[None]).float() for part in (state, task.goals[0]))
        return Problem(cost, present, goal, suite.action_dim, suite.action_limit)


def simulated(
    suite: Suite,
    tasks: Tasks,  # S of them, whose starts are the present
    actions: Float[np.ndarray, "S H A"],  # one per chunk
    frame_step: int,
) -> Float[np.ndarray, "S H state_dim"]:
    """States after each chunk in the world itself. Later random events of an episode are not simulated."""
    visited = []
    if isinstance(suite, TwoRooms) and not suite.fork:
        # The equal moves of a chunk are one long move, whose collisions are tested along all of it.
        positions = tasks.starts
        moves = suite.action_limit.bounded_array(actions) * frame_step
        for step in range(moves.shape[1]):
            positions = moved(positions, moves[:, step], tasks.layouts)
            visited.append(positions)
    else:
        world = suite.begin(tasks)
        for step in range(actions.shape[1]):
            for _ in range(frame_step):
                world.step(actions[:, step])
            visited.append(world.states)
    return np.stack(visited, axis=1)
